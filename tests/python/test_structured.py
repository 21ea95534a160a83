"""Structured output: whatever a random model says, it obeys. Checked by jsonschema and re."""

import json
import pathlib
import random
import re

import jsonschema
import pytest

import onnuri

MODEL = pathlib.Path(__file__).resolve().parents[1] / "golden" / "text" / "qwen2"
NUM_SCHEMAS = 200
WORDS = ["name", "age", "tags", "x", "y", "한글", "id", "a b", "q\"uote", "n", "nested", "kind"]


@pytest.fixture(scope="module")
def engine():
    return onnuri.Engine(MODEL, num_threads=1)


@pytest.fixture(scope="module")
def closing(engine):
    """A bias towards what ends strings and lists: a random model would hardly ever."""
    ids = {}
    for text, bias in (('"', 3.0), ("}", 3.0), ("]", 3.0), ('"}', 3.0), ('",', 3.0)):
        found = engine.tokenize(text)
        if len(found) == 1:
            ids[found[0]] = bias
    return ids


class Schemas:
    """Random schemas out of every construct that the grammar covers."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def chance(self, p):
        return self.random.random() < p

    def schema(self, depth):
        kinds = ["integer", "number", "string", "boolean", "null", "enum", "const", "union"]
        if depth > 0:
            kinds += ["object"] * 4 + ["array"] * 3 + ["anyOf", "oneOf", "allOf", "map", "tuple"]
        return getattr(self, "make_" + self.random.choice(kinds))(depth)

    def far_whole(self):
        return self.random.choice([-1, 1]) * (self.random.choice(
            [2**53, 2**62, 10**11, 10**12, 10**17, 9 * 10**15]) + self.random.randint(-2, 2))

    def make_integer(self, _):
        low = self.far_whole() if self.chance(0.3) else self.random.randint(-2000, 2000)
        return self.random.choice([
            {"type": "integer"},
            {"type": "integer", "minimum": low},
            {"type": "integer", "exclusiveMaximum": low},
            {"type": "integer", "minimum": low, "maximum": low + self.random.randint(0, 500)},
            {"type": "integer", "minimum": 0, "maximum": 90, "multipleOf": self.random.randint(2, 9)}])

    def make_number(self, _):
        if self.chance(0.4):
            size = 10.0 ** self.random.randint(-12, 14)
            low = self.random.uniform(-size, size)
            high = low + size * self.random.choice([1e-3, 1, 1e3])
            return self.random.choice([
                {"type": "number", "minimum": low, "maximum": high},
                {"type": "number", "exclusiveMinimum": low, "exclusiveMaximum": high},
                {"type": "number", "exclusiveMinimum": low},
                {"type": "number", "exclusiveMaximum": low}])
        low = round(self.random.uniform(-50, 50), self.random.randint(0, 3))
        return self.random.choice([
            {"type": "number"},
            {"type": "number", "exclusiveMinimum": low},
            {"type": "number", "minimum": low, "maximum": low + round(self.random.uniform(0, 9), 2)}])

    def make_string(self, _):
        low = self.random.randint(0, 4)
        return self.random.choice([
            {"type": "string"},
            {"type": "string", "minLength": low, "maxLength": low + self.random.randint(0, 9)},
            {"type": "string", "pattern": self.random.choice(
                ["^[a-c]{2,5}$", "^(foo|bar)+[0-9]?$", "^\\d{3}-\\d{4}$", "x", "^[^\"a]{1,6}$"])},
            {"type": "string", "pattern": "^[ab]*$", "minLength": low, "maxLength": low + 3},
            {"type": "string", "format": self.random.choice(
                ["date", "time", "date-time", "uuid", "ipv4", "email", "hostname"])}])

    def make_boolean(self, _):
        return {"type": "boolean"}

    def make_null(self, _):
        return {"type": "null"}

    def make_enum(self, _):
        values = ["red", "green", "한", "with \"quotes\"", 3, -1.5, True, None, [1, 2], {"k": []}]
        return {"enum": self.random.sample(values, self.random.randint(1, 5))}

    def make_const(self, _):
        return {"const": self.random.choice(["fixed", 42, {"a": [1, {"b": None}]}])}

    def make_union(self, _):
        return {"type": self.random.sample(["integer", "boolean", "null", "string"], 2)}

    def make_object(self, depth):
        names = self.random.sample(WORDS, self.random.randint(0, 5))
        out = {"type": "object", "properties": {n: self.schema(depth - 1) for n in names},
               "required": [n for n in names if self.chance(0.5)]}
        extra = self.random.choice([None, False, self.make_integer(0)])
        if extra is not None:
            out["additionalProperties"] = extra
        if len(names) > 2 and self.chance(0.3):
            out["maxProperties"] = max(len(out["required"]), 2)
        if names and self.chance(0.2):
            out["minProperties"] = 1
        return out

    def make_map(self, depth):
        return {"type": "object", "additionalProperties": self.schema(depth - 1), "maxProperties": 3}

    def make_array(self, depth):
        low = self.random.randint(0, 2)
        return {"type": "array", "items": self.schema(depth - 1), "minItems": low,
                "maxItems": low + self.random.randint(0, 3)}

    def make_tuple(self, depth):
        return {"type": "array", "prefixItems": [self.schema(depth - 1), self.make_boolean(0)],
                "items": self.random.choice([False, self.make_integer(0)]), "minItems": 1, "maxItems": 4}

    def make_anyOf(self, depth):
        return {"anyOf": [self.schema(depth - 1) for _ in range(self.random.randint(1, 3))]}

    def make_oneOf(self, depth):
        return {"oneOf": [{"type": "object", "properties": {"kind": {"const": name}, "v": self.schema(depth - 1)},
                           "required": ["kind"]} for name in ("a", "b", "c")]}

    def make_allOf(self, depth):
        return {"allOf": [{"type": "object", "properties": {"p": self.schema(depth - 1)}, "required": ["p"]},
                          {"type": "object", "properties": {"q": self.make_integer(0)}}]}

    def document(self, index):
        if index % 10 == 3:  # recursion
            node = {"type": "object", "properties": {
                "v": self.schema(0), "kids": {"type": "array", "items": {"$ref": "#/$defs/node"}, "maxItems": 2},
                "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}}, "required": ["v"]}
            return {"$defs": {"node": node}, "$ref": "#/$defs/node"}
        if index % 10 == 7:
            return {"definitions": {"s": self.schema(1)}, "type": "array",
                    "items": {"$ref": "#/definitions/s"}, "minItems": 1, "maxItems": 2}
        return self.schema(3)


def unique_members(pairs):
    assert len({key for key, _ in pairs}) == len(pairs), "a member twice"
    return dict(pairs)


def test_random_schemas_give_only_valid_output(engine, closing):
    whole = 0
    for index in range(NUM_SCHEMAS):
        schema = Schemas(index).document(index)
        jsonschema.Draft202012Validator.check_schema(schema)
        result = engine.generate([5, 6, 7], json_schema=schema, max_new_tokens=450, temperature=1.3,
                                 seed=index, logit_bias=closing)
        assert "\N{REPLACEMENT CHARACTER}" not in result.text or result.finish_reason == "length"
        if result.finish_reason != "stop":
            continue
        whole += 1
        value = json.loads(result.text, object_pairs_hook=unique_members)
        try:
            jsonschema.validate(value, schema, cls=jsonschema.Draft202012Validator)
        except jsonschema.ValidationError as error:
            raise AssertionError(f"schema {index}: {json.dumps(schema)}\ngave {result.text}") from error
    assert whole >= NUM_SCHEMAS * 0.85, f"only {whole} of {NUM_SCHEMAS} came to an end"


NUMBERS = [
    {"type": "integer", "minimum": 2**53 + 1, "maximum": 2**53 + 1},
    {"type": "integer", "minimum": 10**18 + 1, "maximum": 10**18 + 5},
    {"type": "integer", "minimum": 1e17},
    {"type": "integer", "maximum": -1e17},
    {"type": "integer", "exclusiveMinimum": 2**62, "maximum": 2**63 - 1},
    {"type": "integer", "minimum": 9 * 10**15 + 1, "maximum": 9.9e15, "multipleOf": 10**14},
    {"allOf": [{"type": "integer", "minimum": 2**53}, {"minimum": 2**53 + 1, "maximum": 2**53 + 2}]},
    {"type": "integer", "maximum": 1e300, "minimum": 5},
    {"type": "number", "minimum": 1e12},
    {"type": "number", "minimum": 1e12, "maximum": 1e12 + 1},
    {"type": "number", "exclusiveMinimum": 0, "maximum": 1e-7},
    {"type": "number", "minimum": 1e-9, "maximum": 2e-9},
    {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1e-300},
    {"type": "number", "minimum": 0.12345678, "maximum": 0.12345679},
    {"type": "number", "exclusiveMinimum": -0.3, "exclusiveMaximum": 0.1},
    {"type": "number", "exclusiveMinimum": 8e15, "exclusiveMaximum": 8e15 + 3},
    {"type": "number", "minimum": -1e300, "maximum": -1e-5},
    {"type": "integer", "enum": [1.0, 2]},
]


@pytest.mark.parametrize("schema", NUMBERS, ids=json.dumps)
def test_numbers_keep_their_bounds(engine, schema):
    seen = set()
    for seed in range(12):
        result = engine.generate([5], json_schema=schema, max_new_tokens=400, temperature=2, seed=seed)
        assert result.finish_reason == "stop"
        jsonschema.validate(json.loads(result.text), schema, cls=jsonschema.Draft202012Validator)
        seen.add(result.text)
    assert len(seen) > 1 or schema == NUMBERS[0]


def test_references_that_double_at_every_level_are_refused(engine):
    document = {"$defs": {f"a{i}": {"allOf": [{"$ref": f"#/$defs/a{i + 1}"}] * 2} for i in range(40)},
                "$ref": "#/$defs/a0"}
    document["$defs"]["a40"] = {"type": "integer"}
    with pytest.raises(onnuri.Error, match="combinations"):
        engine.generate([5], json_schema=document)
    assert engine.generate([5], max_new_tokens=2).token_ids


PATTERNS = [r"[a-f0-9]{8}", r"(yes|no|maybe)( please)?", r"\d{4}-(0[1-9]|1[0-2])", r"[A-Z][a-z]{0,5}( [A-Z][a-z]{0,5}){1,2}",
            r"\+82-\d{2}-\d{3,4}-\d{4}", r"(ab|a|b){3,7}c?", r"[가-힣]{1,3}!", r"\"[^\"]{0,4}\"", r"(a|(b|(c|d){2}){2})x",
            r"\s?[xyz]+=\d+(\.\d\d)?"]


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("seed", range(3))
def test_regex(engine, pattern, seed):
    result = engine.generate([5], regex=pattern, max_new_tokens=200, temperature=1.5, seed=seed)
    assert result.finish_reason == "stop"
    assert re.fullmatch(pattern, result.text), result.text


def test_grammar(engine):
    rules = '''root ::= "(" item (", " item)* ")"   # a list
               item ::= [a-c]{1,3} | "<" root ">"'''
    ends = {i: 4.0 for text in (")", ">") for i in engine.tokenize(text)}
    for seed in range(10):
        text = engine.generate([5], grammar=rules, max_new_tokens=400, temperature=1, seed=seed, logit_bias=ends)
        if text.finish_reason != "stop":
            continue
        flat = text.text
        while "<" in flat:  # innermost lists become items
            flat, changed = re.subn(r"<\((?:[abc]{1,3})(?:, [abc]{1,3})*\)>", "a", flat)
            assert changed, text.text
        assert re.fullmatch(r"\([abc]{1,3}(, [abc]{1,3})*\)", flat), text.text


def test_choice(engine):
    texts = ["positive", "negative", "neutral", "pos"]
    seen = {engine.generate([5], choice=texts, temperature=2, seed=seed).text for seed in range(40)}
    assert seen <= set(texts) and len(seen) > 1


def test_same_with_any_number_of_threads():
    options = dict(json_schema={"type": "array", "items": {"type": "integer"}, "maxItems": 5}, temperature=1,
                   seed=11, n=2, max_new_tokens=60)
    results = [onnuri.Engine(MODEL, num_threads=threads).generate([5, 6], **options) for threads in (1, 2)]
    assert results[0].token_ids == results[1].token_ids
    assert results[0].choices[1].token_ids == results[1].choices[1].token_ids


@pytest.mark.parametrize("options, word", [
    ({"json_schema": {"type": "array", "uniqueItems": True}}, "uniqueItems"),
    ({"json_schema": "{"}, "JSON schema"), ({"json_schema": False}, "matches none"),
    ({"json_schema": {"$ref": "#/nowhere"}}, "nowhere"), ({"regex": "(?=a)"}, "look-around"),
    ({"regex": "a{1,1000}" * 2000}, "size"), ({"regex": "(" * 100000}, "expected"),
    ({"grammar": "root ::= root"}, "matches none"), ({"grammar": "root ::= a"}, '"a"'),
    ({"choice": [""]}, "empty"), ({"choice": []}, "at least one"), ({"regex": ""}, "empty"), ({"grammar": ""}, "empty"),
    ({"regex": "\ud800"}, "Unicode"), ({"seed": -1}, "seed"), ({"seed": 2**64}, "seed"), ({"regex": "a", "choice": ["b"]}, "at most one"),
    ({"temperature": -1}, "temperature"), ({"top_k": -1}, "top_k"), ({"typical_p": 2}, "typical_p"),
    ({"n": 0}, "num_choices"), ({"logprobs": -2}, "top_logprobs"), ({"logit_bias": {100000: 1}}, "logit_bias"),
    ({"temperature": "warm"}, "temperature"), ({"sampling": "best"}, "sampling")])
def test_bad_requests_are_named_and_the_engine_lives(engine, options, word):
    with pytest.raises(onnuri.Error) as caught:
        engine.generate([5], max_new_tokens=4, **options)
    assert word in str(caught.value) and "\n" not in str(caught.value)
    assert engine.generate([5], max_new_tokens=2, ignore_eos=True).token_ids
