"""How a machine's cards are linked, as NVML tells it, in the words of a table of collectives."""

from collections.abc import Sequence

GPU, SWITCH = 0, 2  # NVML's kinds of what is at the other end of an NVLink


def links_name(ends: Sequence[tuple[int, str]], has_peer_access: bool) -> str:
    """What links the cards of a machine: nvswitch, nvlink-mesh, nvlink-bridge, pcie, pcie-host; "" when unclear.

    ends: (NVML's kind, bus address) of what is at the other end of each active NVLink of a card. has_peer_access: the
    card reads another one's memory directly.

    >>> links_name([(SWITCH, "a"), (SWITCH, "b")], True), links_name([(GPU, "a"), (GPU, "a")], True)
    ('nvswitch', 'nvlink-bridge')
    >>> links_name([(GPU, "a"), (GPU, "b")], True), links_name([], True), links_name([], False)
    ('nvlink-mesh', 'pcie', 'pcie-host')
    """
    if not ends:
        return "pcie" if has_peer_access else "pcie-host"
    kinds = {kind for kind, _ in ends}
    if kinds == {SWITCH}:
        return "nvswitch"
    if kinds == {GPU}:
        return "nvlink-bridge" if len(set(ends)) == 1 else "nvlink-mesh"
    return ""


def link_ends(uuid: str) -> list[tuple[int, str]]:
    """What is at the other end of each active NVLink of the card with this UUID.

    Raises: OSError when NVML does not answer.
    """
    try:
        import pynvml

        pynvml.nvmlInit()
        card = pynvml.nvmlDeviceGetHandleByUUID(uuid)
    except Exception as error:
        raise OSError(str(error)) from None
    found = []
    for link in range(pynvml.NVML_NVLINK_MAX_LINKS):
        try:
            if pynvml.nvmlDeviceGetNvLinkState(card, link):
                kind = pynvml.nvmlDeviceGetNvLinkRemoteDeviceType(card, link)
                found.append((int(kind), str(pynvml.nvmlDeviceGetNvLinkRemotePciInfo(card, link).busId)))
        except pynvml.NVMLError:  # no such link
            continue
    return found
