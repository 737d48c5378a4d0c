from gateway.control_plane.web.page_parts import PagePart


def test_a_part_is_equal_to_itself_alone():
    def provide() -> int:
        return 1

    part, other = PagePart(provide, sync_to_thread=False), PagePart(provide, sync_to_thread=False)
    assert part == part  # noqa: PLR0124
    assert part != other
    assert len({part, other}) == 2
