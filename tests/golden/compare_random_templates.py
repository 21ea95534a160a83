"""Random templates: render_chat_template against jinja2.

    python tests/golden/compare_random_templates.py [COUNT [SEED ...]]     (1500 templates, seed 1)

Every template is drawn from the grammar below: expressions of a wanted type over every filter, test,
method and operator that we have, now and then with an operand of some other type, inside the statements
that templates use. The same text, or a refusal by both, counts as equal. Where the text would hold the
address of an object there is nothing to compare and the template is not counted. Wants onnuri and
jinja2 >= 3.1.
"""

import random
import re
import sys

from template_reference import environment, rendered

import onnuri

VARIABLES = {
    "s": "Hello, 'world'\n  한글 x ", "w": "a,b,,c", "e": "", "digits": "042", "i": 3, "neg": -7, "zero": 0, "f": 2.5,
    "g": -0.125, "yes": True, "no": False, "nil": None, "l": [3, 1, 2], "ls": ["b", "A", "c", "a"], "empty": [],
    "mixed": [1, "x", None, 2.0, [1]], "d": {"b": 1, "a": "x", "C": None}, "o": {},
    "messages": [{"role": "user", "content": "Hi <b>", "n": 2}, {"role": "assistant", "content": "Yo", "tool_calls": []},
                 {"role": "user", "content": [{"type": "text", "text": "part"}], "n": 1}],
}
WORDS = ["", "a", "ab", "x y", "A-b_c", "<i>&\"'", "한 글", "1", "-3", "2.50", "\\n", " pad ", "%s", "a%db", "{}", "l\\nm\\n\\nn"]
SPLITS = ["split()", "split(',')", "splitlines()", "split(' ', 1)", "rsplit(none, 1)", "splitlines(true)"]
BY_VALUE = "dictsort(by='value')"
ADDRESS = re.compile(r"0x[0-9a-f]{6,}|<function|<bound method|<built-in|<Namespace|<macro|Macro '|generator object|<LoopContext", re.I)


class Maker:
    def __init__(self, seed):
        self.r = random.Random(seed)

    def one(self, *choices):
        return self.r.choice(choices)

    def number(self):
        return str(self.one(0, 1, 2, 3, 7, -1, -2, 10))

    def quoted(self):
        return '"' + self.r.choice(WORDS).replace('"', '\\"') + '"'

    def any(self, depth):
        return self.one(self.text, self.integer, self.real, self.items, self.mapping, self.truth, self.odd)(depth)

    def odd(self, depth):
        return self.one("missing", "nil", "none", "d.nope", "l[9]", "missing.x", "messages[0].content", "(1, 'b')", "(2,)")

    def maybe(self, make, depth):
        """Usually of the wanted type."""
        return self.any(depth - 1) if self.r.random() < 0.08 else make(depth - 1)

    def text(self, depth):
        if depth <= 0:
            return self.one("s", "w", "e", "digits", self.quoted(), self.quoted(), "messages[0].role", "d.a", "d['a']")
        t = lambda: self.maybe(self.text, depth)
        n = lambda: self.maybe(self.integer, depth)
        any_ = lambda: self.any(depth - 1)
        q = self.quoted
        return self.one(
            lambda: f"{t()}|{self.one('upper', 'lower', 'title', 'capitalize', 'trim', 'string', 'e', 'safe', 'forceescape', 'reverse')}",
            lambda: f"{t()}.{self.one('strip', 'lstrip', 'rstrip', 'upper', 'lower', 'title', 'capitalize', 'casefold', 'swapcase')}()",
            lambda: f"{t()}.{self.one('strip', 'lstrip', 'rstrip', 'removeprefix', 'removesuffix')}({q()})",
            lambda: f"({t()} + {t()})", lambda: f"({any_()} ~ {any_()})", lambda: f"({t()} * {self.number()})",
            lambda: f"{t()}.replace({q()}, {q()})", lambda: f"{t()}|replace({q()}, {q()})", lambda: f"{t()}.replace({q()}, {q()}, {self.number()})",
            lambda: f"{t()}[{self.slice(depth)}]", lambda: f"{t()}[{n()}]",
            lambda: f"{self.maybe(self.items, depth)}|join({q()})", lambda: f"{q()}.join({self.maybe(self.items, depth)})",
            lambda: f"{any_()}|tojson", lambda: f"{any_()}|tojson(indent={self.one(0, 1, 2, 4)})", lambda: f"{any_()}|string",
            lambda: f"{self.maybe(self.mapping, depth)}|tojson(sort_keys=true)", lambda: f"{any_()}|tojson(ensure_ascii=true)",
            lambda: f"{any_()}|tojson(separators=(',', ':'))",
            lambda: f"{any_()}|default({q()})", lambda: f"{any_()}|default({q()}, true)", lambda: f"{any_()}|d({t()})",
            lambda: f"{t()}|indent({self.one('', '2', '4, true', '2, blank=true', 'width=1, first=True', q())})",
            lambda: f"{t()}|truncate({self.one('', '5', '4, true', '6, false, q', '3, true, q, 0')})".replace("q", q()),
            lambda: f"{t()}.{self.one('ljust', 'rjust', 'center', 'zfill')}({n()})", lambda: f"{t()}|center({n()})",
            lambda: f"({t()} % {any_()})", lambda: f"({self.one(repr('%s-%s'), repr('%d'), repr('%5.1f'), repr('%x'), repr('%%'))} % {self.one(n(), '(1, 2)', any_())})",
            lambda: f"{q()}|format({any_()})", lambda: f"'{{}}/{{0}}'.format({any_()})" if self.r.random() < 0.2 else f"'{{}}:{{}}'.format({any_()}, {t()})",
            lambda: f"({t()} if {self.maybe(self.truth, depth)} else {t()})", lambda: f"({t()} or {t()})", lambda: f"({t()} and {t()})",
            lambda: f"{self.maybe(self.items, depth)}|{self.one('first', 'last', 'max', 'min')}", lambda: f"{t()}|first",
            lambda: f"{t()}.partition({q()})[{self.one(0, 1, 2)}]", lambda: f"{t()}.{self.one('split', 'rsplit')}({q()})[{self.one(0, -1, 1)}]",
            lambda: f"{any_()}|attr({self.one(repr('role'), repr('upper'), repr('x'))})")()

    def integer(self, depth):
        if depth <= 0:
            return self.one("i", "neg", "zero", self.number(), self.number(), "messages[0].n", "d.b", "l[0]")
        n = lambda: self.maybe(self.integer, depth)
        t = lambda: self.maybe(self.text, depth)
        return self.one(
            lambda: f"({n()} {self.one('+', '-', '*', '//', '%')} {n()})", lambda: f"({n()} ** {self.one(0, 1, 2, 3)})", lambda: f"-{n()}", lambda: f"+{n()}",
            lambda: f"{t()}|length", lambda: f"{self.maybe(self.items, depth)}|{self.one('length', 'count', 'sum', 'max', 'min', 'first', 'last')}",
            lambda: f"{self.any(depth - 1)}|int", lambda: f"{t()}|int({n()})", lambda: f"{n()}|abs", lambda: f"{t()}.{self.one('count', 'find', 'rfind', 'index')}({self.quoted()})",
            lambda: f"{self.maybe(self.items, depth)}[{n()}]", lambda: f"{self.maybe(self.items, depth)}.{self.one('index', 'count')}({self.any(0)})",
            lambda: f"{self.maybe(self.mapping, depth)}|length", lambda: f"{t()}|wordcount")()

    def real(self, depth):
        if depth <= 0:
            return self.one("f", "g", "1.5", "0.1", "2.0", "1e20", "1e-7")
        x = lambda: self.one(self.maybe(self.real, depth), self.maybe(self.integer, depth))
        return self.one(
            lambda: f"({x()} {self.one('+', '-', '*', '/', '//', '%')} {x()})", lambda: f"{x()}|round", lambda: f"{x()}|round({self.one(0, 1, 2, 3)})", lambda: f"{x()}|abs",
            lambda: f"{x()}|round({self.one(0, 1, 2)}, '{self.one('floor', 'ceil', 'common')}')", lambda: f"{self.any(depth - 1)}|float", lambda: f"({x()} ** 2)", lambda: f"-{x()}")()

    def slice(self, depth):
        n = lambda: self.one("", self.number(), self.maybe(self.integer, depth - 1))
        return self.one(f"{n()}:{n()}", f"{n()}:{n()}:{self.one('1', '2', '-1', '-2', '')}")

    def items(self, depth):
        if depth <= 0:
            return self.one("l", "ls", "empty", "mixed", "messages", "[1, 2, 3]", "['a', 'B']", "range(4)", "(1, 2)", "[]")
        a = lambda: self.maybe(self.items, depth)
        t = lambda: self.maybe(self.text, depth)
        any_ = lambda: self.any(depth - 1)
        return self.one(
            lambda: f"{a()}|{self.one('list', 'sort', 'unique|list', 'reverse|list', 'reverse', 'unique', 'sort(reverse=true)', 'sort(case_sensitive=true)')}",
            lambda: f"[{any_()}, {any_()}]", lambda: f"({any_()},)", lambda: f"({a()} + {a()})", lambda: f"({a()} * {self.one(0, 1, 2, -1)})",
            lambda: f"{a()}[{self.slice(depth)}]", lambda: f"range({self.maybe(self.integer, depth)})", lambda: f"range({self.number()}, {self.number()}, {self.number()})",
            lambda: f"{t()}.{self.one(*SPLITS)}", lambda: f"{t()}|list",
            lambda: f"{a()}|map('{self.one('upper', 'string', 'length', 'int', 'tojson', 'trim', 'abs')}')|list", lambda: f"{a()}|map(attribute='{self.one('role', 'n', 'content', 'nope')}')|list",
            lambda: f"{a()}|map(attribute='n', default=0)|list", lambda: f"{a()}|map('{self.one('upper', 'abs', 'int')}')",
            lambda: f"{a()}|{self.one('select', 'reject')}('{self.one('string', 'number', 'odd', 'even', 'none', 'mapping', 'defined', 'true')}')|list", lambda: f"{a()}|select|list",
            lambda: f"{a()}|{self.one('select', 'reject')}('{self.one('equalto', 'ne', 'gt', 'lt', 'in', 'divisibleby')}', {any_()})|list",
            lambda: f"{a()}|{self.one('selectattr', 'rejectattr')}({self.one(repr('role') + ', ' + repr('equalto') + ', ' + repr('user'), repr('n'), repr('n') + ', ' + repr('defined'))})|list",
            lambda: f"{self.maybe(self.mapping, depth)}|{self.one('list', 'items|list', 'dictsort', BY_VALUE, 'items')}", lambda: f"{self.maybe(self.mapping, depth)}.{self.one('keys()|list', 'values()|list', 'items()|list', 'items()', 'keys()')}",
            lambda: f"{a()}|batch({self.one(1, 2, 3)}{self.one('', ', 0')})|list", lambda: f"{a()}|slice({self.one(1, 2, 3)})|list", lambda: f"{a()}|groupby('{self.one('role', 'n')}')|map('first')|list",
            lambda: f"{t()}.partition({self.quoted()})", lambda: f"{a()}|default([])")()

    def mapping(self, depth):
        if depth <= 0:
            return self.one("d", "o", "messages[0]", "{'k': 1}", "{}", "{'z': [1], 'y': {'x': none}}")
        any_ = lambda: self.any(depth - 1)
        return self.one(lambda: f"{{{self.quoted()}: {any_()}, 'k': {any_()}}}", lambda: f"dict(a={any_()}, b={any_()})", lambda: f"dict({self.maybe(self.mapping, depth)}, k={any_()})",
                        lambda: f"{{{self.integer(0)}: {any_()}}}", lambda: f"{self.maybe(self.items, depth)}[{self.integer(0)}]", lambda: f"{self.maybe(self.mapping, depth)}.get({self.quoted()}, {any_()})")()

    def truth(self, depth):
        if depth <= 0:
            return self.one("yes", "no", "true", "false", "missing is defined", "nil is none")
        any_ = lambda: self.any(depth - 1)
        return self.one(
            lambda: f"({any_()} {self.one('==', '!=')} {any_()})", lambda: f"({self.maybe(self.integer, depth)} {self.one('<', '<=', '>', '>=')} {self.maybe(self.real, depth)})",
            lambda: f"({self.maybe(self.text, depth)} {self.one('<', '>=')} {self.maybe(self.text, depth)})", lambda: f"({self.integer(0)} < {self.maybe(self.integer, depth)} <= {self.integer(0)})",
            lambda: f"({self.text(depth - 1)} {self.one('in', 'not in')} {self.maybe(self.text, depth)})", lambda: f"({any_()} {self.one('in', 'not in')} {self.maybe(self.items, depth)})",
            lambda: f"({self.text(0)} in {self.maybe(self.mapping, depth)})", lambda: f"(not {any_()})", lambda: f"({any_()} {self.one('and', 'or')} {any_()})",
            lambda: f"({any_()} is {self.one('', 'not ')}{self.one('defined', 'undefined', 'none', 'string', 'number', 'integer', 'float', 'boolean', 'mapping', 'iterable', 'sequence', 'true', 'false', 'callable', 'lower', 'upper', 'escaped')})",
            lambda: f"({self.one(self.maybe(self.integer, depth), self.maybe(self.real, depth))} is {self.one('odd', 'even', 'divisibleby 2', 'divisibleby(3)', 'eq 1', 'gt 1', 'in l')})",
            lambda: f"{self.maybe(self.text, depth)}.{self.one('startswith', 'endswith')}({self.quoted()})", lambda: f"{self.maybe(self.text, depth)}.{self.one('isdigit', 'isalpha', 'isalnum', 'isspace', 'isupper', 'islower', 'isnumeric', 'isdecimal', 'istitle')}()")()

    def body(self, depth):
        mark = self.one("", "", "-")
        end = self.one("", "", "-")
        e = lambda: self.any(self.one(0, 1, 2, 3))
        inner = lambda: self.body(depth - 1) if depth > 0 else f"{{{{ {e()} }}}}"
        return self.one(
            lambda: f"{{{{{mark} {e()} {end}}}}}", lambda: f"{{{{ {e()} }}}}|{{{{ {e()} }}}}\n",
            lambda: f"{{%{mark} if {self.truth(2)} {end}%}}\n {inner()}\n{{% else %}}{inner()}{{% endif %}}\n",
            lambda: f"  {{%{mark} for v in {self.items(2)} {end}%}}{{{{ loop.index }}}}{{{{ v }}}} {inner()}{{% else %}}none{{% endfor %}}\n",
            lambda: f"{{% for k, v in {self.mapping(1)}.items() %}}{{{{ k }}}}={{{{ v|tojson }}}};{{% endfor %}}",
            lambda: f"{{% for v in {self.items(1)} if {self.one('v', 'v is string', 'v != 1', self.truth(1))} %}}{{{{ v }}}}{{{{ ',' if not loop.last }}}}{{% endfor %}}",
            lambda: f"{{% set v = {e()} %}}{inner()}{{{{ v }}}}", lambda: f"{{% set v %}}{inner()}{{% endset %}}[{{{{ v|trim }}}}]",
            lambda: f"{{% set ns = namespace(a={e()}) %}}{{% for x in {self.items(1)} %}}{{% set ns.a = x %}}{{% endfor %}}{{{{ ns.a }}}}",
            lambda: f"{{% macro m(a, b={e()}) %}}{{{{ a }}}}/{{{{ b }}}}{{% endmacro %}}{{{{ m({e()}) }}}}{{{{ m({e()}, b={e()})|upper }}}}",
            lambda: f"{{% filter {self.one('upper', 'trim', 'indent(2)')} %}}{inner()}{{% endfilter %}}", lambda: f"{{% for x in range(5) %}}{{% if x == {self.number()} %}}{{% {self.one('break', 'continue')} %}}{{% endif %}}{{{{ x }}}}{{% endfor %}}",
            lambda: f"{inner()}{{# note #}}\n{inner()}", lambda: f"{{% with v = {e()} %}}{{{{ v }}}}{{% endwith %}}{inner()}")()

    def template(self):
        return self.body(2)


def compare(count, seed):
    env = environment()
    make = Maker(seed)
    tally = {"equal": 0, "refused": 0, "skipped": 0}
    different = []
    for _ in range(count):
        source = make.template()
        try:
            want = rendered(env.from_string(source), VARIABLES)
        except Exception:
            want = None
        try:
            got = onnuri.render_chat_template(source, **VARIABLES)
        except onnuri.Error as error:
            got = error
        if ADDRESS.search(want or ""):
            tally["skipped"] += 1
        elif want is None and isinstance(got, onnuri.Error):
            tally["refused"] += 1
        elif want == got:
            tally["equal"] += 1
        else:
            different.append((source, want, got))
    return tally, different


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1500
    bad = 0
    for seed in [int(s) for s in sys.argv[2:]] or [1]:
        tally, different = compare(count, seed)
        for source, want, got in different[:40]:
            print(f"--- {source!r}\n  jinja2: {want!r}\n  onnuri: {got!r}"[:1500])
        print(f"seed {seed}: {count} templates: {tally['equal']} equal, {tally['refused']} refused by both, "
              f"{tally['skipped']} not comparable, {len(different)} different")
        bad += len(different)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
