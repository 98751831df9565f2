"""What a page holds, as the standard library's parser reads it: no regular expressions over HTML."""

from html.parser import HTMLParser

VOID = {"meta", "link", "img", "br", "input", "path", "rect", "circle"}


class Page(HTMLParser):
    """Elements and texts of a page.

    Attributes:
        elements: (tag, attributes) in order.
        texts: (innermost classes, text) in order, without scripts and styles.
        inline: Contents of the script and style elements, by tag.
    """

    def __init__(self, document: bytes) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[tuple[str, str]] = []
        self.inline: dict[str, list[str]] = {"script": [], "style": []}
        self._open: list[tuple[str, str]] = []
        self.feed(document.decode())
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        self.elements.append((tag, attributes))
        if tag not in VOID:
            self._open.append((tag, attributes.get("class", "")))

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop()[0] != tag:
            continue

    def handle_data(self, data: str) -> None:
        tag, classes = self._open[-1] if self._open else ("", "")
        if tag in self.inline:
            self.inline[tag].append(data)
        elif data.strip():
            self.texts.append((classes, data.strip()))

    @property
    def text(self) -> str:
        """All that a person reads, one piece a line."""
        return "\n".join(text for _, text in self.texts)

    def all(self, tag: str, **attributes: str) -> list[dict[str, str]]:
        """Attributes of the elements with this tag, and these attributes."""
        return [found for name, found in self.elements if name == tag and attributes.items() <= found.items()]

    def cards(self) -> list[dict[str, str]]:
        """Attributes of the cards of triplets."""
        return [found for found in self.all("li") if "data-margin" in found]
