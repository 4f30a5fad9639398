"""What is closed at the end of a `with` block, whatever happens in it."""

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Optional, Type, TypeVar

Self = TypeVar("Self", bound="Closing")


class Closing(ABC):
    """A context manager that is its own target, and closes itself."""

    @abstractmethod
    def close(self) -> None:
        """Give back everything; may be called twice."""

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.close()
