"""Where the numbers of a plan's card, system and software come from."""

from perfsim.inputs.catalogue import Catalogue


def sources_of(gpu: str, system: str, software: str, known: Catalogue) -> dict[str, str]:
    """The sources of most numbers of each, by what they are of; a plain box of a card has none of its own."""
    specs = {f"datasheet of {known.gpu(gpu).name}": known.gpu_spec(gpu).sources}
    if system in known.names("systems"):
        specs[known.system(system).name] = known.system_spec(system).sources
    specs[known.software(software).name] = known.software_spec(software).sources
    return {what: sources["*"] for what, sources in specs.items() if "*" in sources}
