"""What is said about a model elsewhere."""

from typing import Annotated, Literal

from pydantic import Field

from perfsim.inputs.files import Line, Spec

MAX_PARAMETERS = 10**15


class Published(Spec):
    """The parameter count as its authors or their checkpoint give it; "rounded" where it is a name like 7B."""

    parameters: Annotated[int, Field(ge=1, le=MAX_PARAMETERS)]
    precision: Literal["exact", "rounded"]
    source: Line
