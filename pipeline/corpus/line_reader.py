"""LFW's official files line by line, with errors that name the line."""

from pathlib import Path

from pipeline.errors import InputError


class LineReader:
    """The lines of a text file, one after the other; knows where it is and what it looks for there.

    Blank lines at the end do not count.

    Attributes:
        number: Of the line taken last, from 1; 0 before the first.

    Raises:
        InputError: The file is not there, or is no text.
    """

    def __init__(self, path: Path) -> None:
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError as error:
            raise InputError(
                f"{path} is not there: let evaluation.lfw.folder name the folder of LFW's official files, and "
                "corpus.test_people a list in the format of people.txt"
            ) from error
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path} cannot be read ({error}): download it again") from error
        self._path, self._lines = path, text.rstrip().split("\n")
        self.number, self._expected = 0, ""

    def peek(self) -> list[str]:
        """The words of the next line, which stays the next; none at the end."""
        return self._lines[self.number].split() if self.number < len(self._lines) else []

    def take(self, expected: str) -> list[str]:
        """The words of the next line.

        Args:
            expected: What it should hold, for the message if it does not.

        Raises:
            InputError: There is no more line.
        """
        if self.number == len(self._lines):
            raise InputError(
                f"{self._path} ends after line {self.number}, where it should hold {expected}: download it again"
            )
        tokens = self.peek()
        self.number, self._expected = self.number + 1, expected
        return tokens

    def count(self, token: str) -> int:
        """A word of the line taken last, as a whole number of at least 1.

        Raises:
            InputError: It is none.
        """
        if not token.isdecimal() or int(token) == 0:
            raise self.fault(f"with whole numbers of at least 1, not {token!r}")
        return int(token)

    def end(self) -> None:
        """Checks that all lines were taken.

        Raises:
            InputError: Some were not.
        """
        if self.number < len(self._lines):
            raise InputError(
                f"{self._path} goes on at line {self.number + 1}, though its counts promise {self.number} lines: "
                "download it again"
            )

    def fault(self, detail: str = "") -> InputError:
        """The error that names the line taken last, and what it should hold."""
        text = self._lines[self.number - 1].rstrip("\r")
        expected = f"{self._expected}, {detail}" if detail else self._expected
        return InputError(f"{self._path} line {self.number} is {text!r}, but should hold {expected}")
