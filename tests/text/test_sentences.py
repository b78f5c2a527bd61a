"""Where sentences begin, in the scripts that mark their ends."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragknn.text import sentence_starts

# Three sentences each, in turn by a statement, a question and a statement where the script has a mark for it.
THREE = {
    "English": ["The door is open.", "Who was it?", "Nobody knows!"],
    "Hindi": ["राम घर गया।", "क्या सीता आई?", "दोनों खुश हैं॥"],
    "Bengali": ["সে বাড়ি গেল।", "তুমি কি আসবে?", "আমি জানি না।"],
    "Punjabi": ["ਉਹ ਘਰ ਗਿਆ।", "ਤੂੰ ਕੌਣ ਹੈਂ?", "ਠੀਕ ਹੈ।"],
    "Odia": ["ସେ ଘରକୁ ଗଲା।", "ତୁମେ କିଏ?", "ଠିକ ଅଛି।"],
    "Arabic": ["ذهب الولد إلى البيت.", "هل رأيته؟", "نعم!"],
    "Persian": ["او به خانه رفت.", "کجا بود؟", "نمی‌دانم."],
    "Urdu": ["وہ گھر گیا۔", "کیا وہ آیا؟", "ہاں۔"],
    "Burmese": ["သူ အိမ်ပြန်သည်။", "ငါ၊ သူ လာသလား။", "ပြီးပြီ။"],
    "Khmer": ["គាត់ទៅផ្ទះ។", "គាត់មកទេ?", "ចប់ហើយ៕"],
    "Armenian": ["Նա գնաց տուն։", "Ո՞ւր ես գնում։", "Լավ։"],
    "Amharic": ["ልጁ ወደ ቤት ሄደ።", "ደህና ነህ፧", "እሺ።"],
    "Ge'ez, older": ["ልጁ ሄደ፡፡", "እሱ መጣ፡፡", "እሺ፡፡"],
    "Tibetan": ["ཁོ་ཁྱིམ་ལ་སོང་།", "ཁོང་གར་སོང་།", "ལགས་སོ།།"],
    "Greek": ["Πήγε σπίτι.", "Πού ήταν;", "Κανείς δεν ξέρει."],
    "Greek, its own mark": ["Πήγε σπίτι.", "Πού ήταν\u037e", "Κανείς δεν ξέρει."],
    "Chinese": ["他回家了。", "谁来了？", "不知道！"],
    "Japanese": ["彼は帰った。", "「だれですか？」", "知らない．"],
    "Mongolian": ["ᠲᠡᠷᠡ ᠶᠠᠪᠤᠪᠠ᠃", "ᠬᠡᠨ ᠪᠤᠢ?", "ᠰᠠᠢᠨ᠃"],
    "Sinhala": ["ඔහු ගියා.", "කවුද?", "හොඳයි෴"],
    "Hebrew, a verse": ["בראשית ברא׃", "והארץ היתה׃", "ויאמר׃"],
    "Javanese": ["ꦱꦤ꧉", "ꦏꦸꦭ꧉", "ꦱꦥ꧉"],
    "Santali": ["ᱚᱱᱟ ᱾", "ᱪᱮᱫ ᱾", "ᱵᱮᱥ ᱾"],
    "Syriac": ["ܐܙܠ ܠܒܝܬܐ܂", "ܡܢܘ؟", "ܛܒ܂"],
}
# These leave no space between sentences, or may leave none.
CLOSE = ["Hindi", "Urdu", "Burmese", "Khmer", "Amharic", "Chinese", "Japanese", "Armenian", "Tibetan"]


def inner_starts(text: str) -> list[int]:
    return [start for start in sentence_starts(text) if start > 0]


@pytest.mark.parametrize("script", THREE)
def test_three_sentences_have_two_inner_starts(script: str) -> None:
    first, second, third = THREE[script]
    text = f"{first} {second} {third}"
    assert inner_starts(text) == [len(first) + 1, len(first) + len(second) + 2]
    assert inner_starts(f"{text}  \n") == inner_starts(text)  # nothing begins at the end


@pytest.mark.parametrize("script", CLOSE)
def test_marks_with_no_other_use_need_no_space(script: str) -> None:
    first, second, third = (sentence.replace("?", "؟") for sentence in THREE[script])
    assert inner_starts(first + second + third) == [len(first), len(first) + len(second)]


@pytest.mark.parametrize(
    ("text", "second"),
    [
        ('उसने कहा "मैं आऊँगा।" फिर वह गया।', "फिर"),
        ("قال «أين هو؟» ثم ذهب.", "ثم"),
        ("он ушёл (совсем!) Потом пришёл.", "Потом"),
        ("Er sagte: „Ja.“ Dann ging er.", "Dann"),
        ("他说：「走吧。」然后走了", "然后"),
        ("गुरु ब्रह्मा ॥ गुरु विष्णु", "गुरु विष्णु"),
        ("What?! No", "No"),
        ("もう…！！行こう", "行こう"),
        ("Il dit : « Ça va ? » Elle sourit.", "Elle"),
        ("Il dit : «\u00a0Ça va\u202f?\u202f» Elle sourit.", "Elle"),
        ("**Mind the step.** It is high.", "It"),
        ("_Really?_ Yes", "Yes"),
        ("Run `make all.` Then wait.", "Then"),
        ("It was so.[12] Later it was not.", "Later"),
        ("It was so.² Later it was not.", "Later"),
        ("你好!我是小李", "我是"),
        ("用Redis吗?是的", "是的"),
    ],
)
def test_closing_marks_belong_to_the_sentence(text: str, second: str) -> None:
    assert inner_starts(text) == [text.index(second)]


@pytest.mark.parametrize(
    "text",
    [
        "a; b; c",
        "τα μήλα; και τα αχλάδια",  # goes on in lower case
        "१.२ और ३.४",
        "円周率は３．１４です",
        "ငါ၊ သူ၊ မင်း",
        "Dr. J. Gray and Prof. Li",
        "क. ख. गुप्ता",
        "version 1.2.3 of it",
        "Ո՞ւր ես, լա՜վ",
        "see https://a.example/?查询=1 for it",
        "his »Haus« is big",
        "Dr.* Gray",
    ],
)
def test_other_uses_of_the_marks_end_no_sentence(text: str) -> None:
    assert inner_starts(text) == []


@given(st.lists(st.sampled_from([*"。।؟۔!?.…;\u037e་།፡\"'”) aΩक字", "\n- "]), max_size=60).map("".join))
def test_starts_ascend_and_are_where_something_stands(text: str) -> None:
    starts = sentence_starts(text)
    assert starts == sorted(set(starts))
    assert all(0 <= start < len(text) for start in starts)
