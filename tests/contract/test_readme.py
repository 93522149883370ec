"""What the README says of keys is what the schema says."""

from pathlib import Path

from tests.contract.key_reference import END, START, render

README = Path(__file__).parents[2] / "README.md"


def test_the_readme_lists_every_key_as_it_is(request):
    text = README.read_text()
    before, _, rest = text.partition(START)
    current, _, after = rest.partition(END)
    if request.config.getoption("--update-goldens"):
        README.write_text(f"{before}{START}{render()}{END}{after}")
        current = render()

    assert current == render(), "the keys have changed: run pytest with --update-goldens and read what it wrote"
