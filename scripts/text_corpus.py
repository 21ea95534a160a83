"""A text of any size that is hard on tokenizers, the same on every run of one machine.

English and code come from the Python installation itself (sources, package descriptions); Korean,
Chinese, Japanese and the rest are made here: sentences from small grammars with Zipf-like word
choice, invented words, emoji with joiners, combining marks, odd white space, numbers.

    from text_corpus import corpus, nasty_texts
"""
import pathlib
import random
import sysconfig

KO_NOUNS = """사람 시간 모델 언어 데이터 학교 문제 회사 정부 나라 경제 사회 문화 기술 연구 결과 방법 생각 마음 오늘 내일 서울 부산 바다
하늘 강아지 고양이 컴퓨터 인공지능 신경망 토큰 문장 단어 번역 대화 질문 대답 음악 영화 사진 그림 소리 빛 물 불 산 강 길 집 방 문
책 글 말 일 돈 차 비행기 기차 지하철 버스 병원 의사 환자 선생님 학생 아이 어른 친구 가족 어머니 아버지 형 누나 동생 이름 나이
생일 선물 음식 밥 김치 국수 커피 우유 사과 바나나 수박 포도 값어치 닭 흙 삶 꿈 뜻 힘 법 왕 꽃잎 햇볕 안녕 대한민국 세종대왕 훈민정음
국제연합 민주주의 자본주의 헌법재판소 대통령 국회의원 지방자치단체 반도체 배터리 전기차 우주선 인공위성 기후변화 온실가스""".split()
KO_STEMS = """가 오 보 먹 마시 자 일어나 말하 듣 쓰 읽 배우 가르치 만들 사 팔 주 받 찾 잃어버리 열 닫 걷 뛰 날 수영하 운전하 공부하
연구하 개발하 발표하 설명하 분석하 계산하 학습하 추론하 번역하 요약하 생성하 저장하 삭제하 수정하 확인하 시작하 끝나 기다리 도착하""".split()
KO_ENDINGS = """ㄴ다 았다 었습니다 고있다 고 있습니다 지만 는데 면서 려고 기 때문에 ㄹ 수 있다 지 않는다 세요 네요 더라 거든요 습니까 자 던 는 을까 ㅋㅋㅋ ㅠㅠ""".split(" ")
KO_PARTICLES = "은 는 이 가 을 를 에 에서 으로 와 과 의 도 만 까지 부터 처럼 에게 한테 보다 이라고 들이".split()
ZH = """的 一 是 不 了 人 我 在 有 他 这 中 大 来 上 国 个 到 说 们 为 子 和 你 地 出 道 也 时 年 得 就 那 要 下 以 生 会 自 着 去 之 过
家 学 对 可 她 里 后 小 么 心 多 天 而 能 好 都 然 没 日 于 起 还 发 成 事 只 作 当 想 看 文 无 开 手 十 用 主 行 方 又 如 前 所 本 见 经
头 面 公 同 三 已 老 从 动 两 长 知 民 样 现 分 将 外 但 身 些 与 高 意 进 把 法 此 实 回 二 理 美 点 月 明 其 种 声 全 工 己 话 儿 者 向
人工智能 语言模型 机器学习 中华人民共和国 北京 上海 經濟 發展 臺灣 學習 圖書館 計算機 数据库 神经网络 开源软件 云计算 操作系统 龘 𠮷 㐂""".split()
JA = """私 は です ます した して いる ある こと もの これ それ の に を が と も から まで より 日本 東京 大阪 学校 先生 学生 言語 モデル 機械学習
データ コンピュータ インターネット ありがとう ございます おはよう こんにちは さようなら 食べる 飲む 見る 行く 来る 書く 読む 話す 聞く 大きな 小さな
新しい 古い 美しい 難しい ガギグゲゴ ｶﾞｷﾞｸﾞ パピプペポ ー っ ゃ ゅ ょ 々 〜 「引用」 （括弧） 、 。 ！ ？ ㍿ ㌔ ①""".split()
OTHER = """naïve café Straße Ångström façade Øre Łódź žluťoučký kůň İstanbul ısı ΑΒΓ αβγδς Ωμέγα Привет мир Съешь ещё этих мягких שלום עולם
مرحبا بالعالم السَّلَامُ हिन्दी क्षत्रिय स्त्री ไทยแลนด์ ภาษาไทย தமிழ் বাংলা ქართული հայերեն አማርኛ ខ្មែរ မြန်မာ བོད་ཡིག ᠮᠣᠩᠭᠣᠯ Ⅳ ½ ²³ ٣٤٥ १२३ ﬁ ﬂ ǅ ſ K Å ﷺ""".split()
EMOJI = ["😀", "😂", "🥲", "👍", "👍🏽", "👨‍👩‍👧‍👦", "🏳️‍🌈", "🇰🇷", "🇯🇵", "❤️", "☃", "⌚", "🧑🏿‍💻", "1️⃣", "🫠", "🀄", "✈︎", "🕵️‍♀️"]
MARKS = ["e\u0301", "n\u0303", "a\u0308\u0323", "q\u0307\u0323", "o\u0302\u0301", "\u1112\u1161\u11ab", "\u1100\u1161", "か\u3099",
         "Z" + "\u0335\u0336\u0337" * 4, "\u0915\u094d\u0937", "\u200d", "x\u200by", "\ufeff", "\u00ad", "\u2028", "\u180e", "\u200e", "\u0085"]
SPACES = [" ", "  ", "   ", "\n", "\n\n", "\n\n\n", "\t", "\t\t", " \n", "\n ", "\r\n", "\r\n\r\n", "\u00a0", "\u3000", "\u2003 ", " \t ", "        "]
HANGUL = [chr(0xAC00 + (i * 7919) % 11172) for i in range(11172)]


def zipf(rnd, words):
    return words[min(int(rnd.paretovariate(0.6)) - 1, 10**6) % len(words)]


def korean(rnd):
    out = []
    for _ in range(rnd.randint(2, 9)):
        noun = rnd.choice(KO_NOUNS) if rnd.random() < 0.93 else "".join(zipf(rnd, HANGUL) for _ in range(rnd.randint(1, 5)))
        if rnd.random() < 0.15:
            noun += rnd.choice(KO_NOUNS)
        out.append(noun + (rnd.choice(KO_PARTICLES) if rnd.random() < 0.8 else ""))
    out.append(rnd.choice(KO_STEMS) + rnd.choice(KO_ENDINGS))
    return " ".join(out) + rnd.choice([". ", ".\n", "? ", "!", "… ", ", "])


def chinese(rnd):
    return "".join(zipf(rnd, ZH) if rnd.random() < 0.9 else rnd.choice(ZH) if rnd.random() < 0.8
                   else chr(rnd.randint(0x4E00, 0x9FA5)) for _ in range(rnd.randint(5, 30))) + rnd.choice("，。！？；\n")


def japanese(rnd):
    return "".join(rnd.choice(JA) for _ in range(rnd.randint(4, 20))) + rnd.choice(["。", "。\n", "！", "、"])


def other(rnd):
    return " ".join(rnd.choice(OTHER) for _ in range(rnd.randint(2, 8))) + rnd.choice([". ", "\n", " - "])


def odd(rnd):
    parts = []
    for _ in range(rnd.randint(2, 10)):
        kind = rnd.random()
        if kind < 0.3:
            parts.append(rnd.choice(EMOJI))
        elif kind < 0.5:
            parts.append(rnd.choice(MARKS))
        elif kind < 0.7:
            parts.append(rnd.choice(SPACES))
        elif kind < 0.8:
            parts.append(str(rnd.randint(0, 10 ** rnd.randint(1, 12))))
        elif kind < 0.9:
            parts.append(rnd.choice(["'s", "'S", "’s", "'ll", "'LL", "don't", "I'VE", "'ſ", "snake_case", "CamelCase", "XMLHttp", "x=1;",
                                     "->", "::", "!!!", "...", "//", "/*", "*/", "&&", "<|x|>", "$%^", "=====", "www.example.com/a?b=c"]))
        else:
            parts.append(chr(rnd.choice([rnd.randint(0x20, 0x2FF), rnd.randint(0x300, 0xD7FF), rnd.randint(0xE000, 0xFFFD),
                                         rnd.randint(0x10000, 0x1FFFF), rnd.randint(0x20000, 0x2FFFF), rnd.randint(0xE0000, 0x10FFFF)])))
    return "".join(parts)


def _installed(suffix, at_least):
    root = pathlib.Path(sysconfig.get_paths()["stdlib"])
    files = sorted(root.glob("*.py")) + sorted(root.glob("*/*.py"))
    if suffix == "METADATA":
        files = sorted(pathlib.Path(sysconfig.get_paths()["purelib"]).glob("*/METADATA"))
        files += [root / "pydoc_data" / "topics.py"] + sorted(root.glob("LICENSE*"))
    out, size = [], 0
    for path in files:
        if size >= at_least:
            break
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            continue
        if path.name == "topics.py":
            text = text.encode("ascii", "ignore").decode("unicode_escape", "ignore")
        out.append(text)
        size += len(text.encode())
    return "".join(out)


def corpus(size, seed=1):
    """About `size` bytes: a quarter each of code, English, Korean, and everything else."""
    rnd = random.Random(seed)
    code, english = _installed("py", size // 4), _installed("METADATA", size // 4)
    blocks = []
    for text in (code, english):
        pos = 0
        while pos < len(text):
            step = rnd.randint(200, 3000)
            blocks.append(text[pos:pos + step])
            pos += step
    total = sum(len(b.encode()) for b in blocks)
    while total < size:
        kind = rnd.choices([korean, chinese, japanese, other, odd], [8, 3, 3, 1, 1])[0]
        block = "".join(kind(rnd) for _ in range(rnd.randint(3, 20)))
        blocks.append(block)
        total += len(block.encode())
    rnd.shuffle(blocks)
    return "".join(blocks).encode("utf-8", "ignore").decode()


def nasty_texts():
    """Single texts with one thing carried too far."""
    rnd = random.Random(3)
    letters = "".join(rnd.choice("etaoinshrdlu") for _ in range(100_000))
    return ["", " ", "\n", "a", letters, "가나다라마바사아자차" * 10_000, "好" * 50_000, "a" * 100_000, " " * 20_000, "\n" * 20_000,
            "\t " * 5_000, "1234567890" * 5_000, "é" * 10_000, "e\u0301" * 10_000, "Z" + "\u0335" * 3_000, "👨‍👩‍👧‍👦" * 3_000, "\u200d" * 5_000,
            "=" * 10_000, "'s" * 5_000, "ab " * 20_000, " ▁" * 2_000, "<0x41>" * 100, "\x00\x01\x7f", "\ufffd" * 100, "aA" * 20_000]


def invalid_bytes(count=200):
    """Byte strings that are no UTF-8."""
    rnd = random.Random(5)
    base = "안녕 hello 你好 😀 é".encode()
    out = [b"\xff", b"a\xc3", b"\xed\xa0\x80b", b"\xc0\x80", b"\xf5\x80\x80\x80", b"\xe2\x96", b"\xf0\x9f\x98", b"\x80\x80 x \xfe"]
    while len(out) < count:
        b = bytearray(base * rnd.randint(1, 3))
        for _ in range(rnd.randint(1, 6)):
            b[rnd.randrange(len(b))] = rnd.randrange(256)
        out.append(bytes(b[rnd.randrange(4):len(b) - rnd.randrange(4)]))
    return out
