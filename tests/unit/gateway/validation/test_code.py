"""Code in answers: what parses passes, what does not is named, what cannot be read is not judged."""

import pytest

from services.gateway.validation.subject import Subject
from services.gateway.validation.validator import Validator

GOOD = {
    "python": "async def f(x: int) -> int:\n    return await g(x)\n",
    "javascript": "const f = async (x) => { const { a, ...r } = await g(x); return `${a}`; };",
    "typescript": "interface A { x: number }\nexport const f = (a: A): string => `${a.x}`;",
    "json": '{"a": [1, 2, {"b": null}]}',
    "go": 'package main\nimport "fmt"\nfunc main() {\n\tfmt.Println("hi")\n}\n',
    "rust": 'fn main() {\n    let v: Vec<i32> = (1..3).map(|x| x * 2).collect();\n    println!("{:?}", v);\n}\n',
    "java": 'public class A {\n  public static void main(String[] args) { System.out.println("x"); }\n}\n',
    "bash": 'for f in *.txt; do\n  echo "$f" | grep -c x\ndone\n',
    "sql": "SELECT a, COUNT(*) FROM t WHERE b > 3 GROUP BY a ORDER BY 2 DESC;",
    "c": '#include <stdio.h>\nint main(void) { printf("%d\\n", 3); return 0; }\n',
    "cpp": "#include <vector>\ntemplate <typename T> T f(const std::vector<T>& v) { return v.at(0); }\n",
    "html": '<div class="a"><p>hi</p></div>',
    "css": ".a { color: red; }\n@media (max-width: 3px) { b { margin: 0 } }",
    "yaml": "a:\n  - b: 1\n    c: [1, 2]\n",
    "ruby": "def f(x)\n  x.map { |y| y * 2 }\nend\n",
}
BAD = {
    "python": "def f(x:\n    return x\n",
    "javascript": "const f = (x) => { return x;",
    "typescript": "interface A { x: number \nexport const f = (a: A): string => {",
    "json": '{"a": [1, 2}',
    "go": 'package main\nfunc main() {\n\tfmt.Println("hi"\n}\n',
    "rust": "fn main( {\n    let v = 3;\n}\n",
    "java": "public class A {\n  void main(String[] args { int x = 3; }\n}\n",
    "bash": 'for f in *.txt; do\n  echo "$f"\n',
    "sql": "SELECT a, FROM WHERE b > (3;",
    "c": 'int main(void) { printf("%d\\n", 3; return 0; }\n',
    "cpp": "int f(const std::vector<T& v { return v.at(0); }\n",
    "html": '<div class="a><p>hi</p></div>',
    "css": ".a { color: red; ",
    "yaml": "a:\n  - b: [1, 2\n c: }",
    "ruby": "def f(x)\n  x.map { |y| y * 2 \nend\n",
}
PARTIAL = {
    "python indented": "```python\n    def f(self):\n        return 1\n```",
    "python session": "```py\n>>> 1 + 1\n2\n```",
    "python notebook": "```python\n!pip install x\n%matplotlib inline\nimport x\n```",
    "python dots": "```python\nfor x in y:\n    …\n```",
    "js dots": "```js\nfunction f() {\n  ...\n}\n```",
    "java method": "```java\npublic int add(int a, int b) {\n  return a + b;\n}\n```",
    "shell prompt": "```sh\n$ pip install <name>\n$ ls -la\n```",
    "in a list": "1. x\n   ```python\n   if x:\n       y\n   ```",
    "tsx": "```tsx\nconst A = () => <div>{x}</div>;\n```",
    "with a title": '```python title="a.py"\nx = 1\n```',
}


async def code_of(text, reason="stop"):
    report = await Validator(embed=None).check(Subject(text, finish_reason=reason), ("code",))
    return report.status["code"], report


@pytest.mark.parametrize("language", GOOD)
async def test_fifteen_languages(language):
    assert (await code_of(f"Here:\n```{language}\n{GOOD[language]}\n```\nDone."))[0] == "passed"
    text = f"Here:\n```{language}\n{BAD[language]}\n```\nDone."
    status, report = await code_of(text)
    # Grammars of dialects only warn.
    assert status == ("flagged" if language in {"sql", "yaml"} else "failed")
    (finding,) = report.findings
    assert finding.message.startswith(language) and text.index("```") < finding.start <= text.rindex("```")
    assert report.quality < 1


@pytest.mark.parametrize("name", PARTIAL)
async def test_pieces_as_people_show_them(name):
    assert (await code_of(PARTIAL[name]))[0] == "passed"


async def test_examples_in_a_docstring_excuse_nothing():
    code = 'def f(x):\n    """Adds.\n    >>> f(1)\n    2\n    """\n    return (x + 1\n'
    assert (await code_of(f"```python\n{code}```"))[0] == "failed"


async def test_a_fence_that_is_not_closed():
    status, report = await code_of("Here:\n```python\nx = 1\n", "length")
    assert (status, report.findings[0].message) == ("failed", "the answer was cut off inside its code")
    assert (await code_of("Here:\n```python\nx = 1\n"))[0] == "flagged"
    assert (await code_of("~~~python\nx = 1\n```\n~~~"))[0] == "failed"


@pytest.mark.parametrize(
    "text",
    [
        "no code",
        "```\nf(\n```",
        "```brainfuck\n+[\n```",
        "a `` ```x( ``` ``",
        "```python\n```",
        f"```py\n{'(' * 90}\n```",
    ],
)
async def test_what_cannot_be_read_is_not_checked(text):
    assert (await code_of(text))[0] == "not_checked"


async def test_without_its_grammar_a_language_is_not_checked(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tree_sitter_go", None)
    assert (await code_of("```go\nfunc (\n```"))[0] == "not_checked"
