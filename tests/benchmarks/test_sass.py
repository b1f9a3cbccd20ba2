"""The counts of `benchmarks.sass` on a piece of machine code that is easy to count by hand."""

import pytest

from benchmarks.sass import Kernel, count, instructions_of, main_loop

CODE = """
        /*0000*/                   LDC R1, c[0x0][0x28] ;       /* 0x00000a00ff017b82 */
        /*0010*/              @!P0 EXIT ;                       /* 0x000000000000894d */
        /*0020*/                   LDG.E.128 R4, desc[UR4][R2.64] ;
        /*0030*/                   FFMA R4, R4, R5, R6 ;
        /*0040*/                   FFMA R5, R4, R5, R6 ;
        /*0050*/                   STG.E.128 desc[UR4][R2.64], R4 ;
        /*0060*/               @P1 BRA 0x20 ;
        /*0070*/                   DADD R8, R8, R10 ;
        /*0080*/                   STL [R1], R8 ;
        /*0090*/                   EXIT ;
        /*00a0*/                   BRA 0xa0;
        /*00b0*/                   NOP;
"""


def test_the_padding_is_left_out_and_the_loop_is_found() -> None:
    code = instructions_of(CODE)
    assert [operation for _, operation, _ in code][-1] == "EXIT"
    assert len(code) == 10
    assert [address for address, _, _ in main_loop(code)] == [0x20, 0x30, 0x40, 0x50, 0x60]


def test_instructions_are_divided_by_the_elements() -> None:
    code = instructions_of(CODE)
    whole = count(Kernel("op", "kernel", "", values=2, bytes=8), code, " REG:40 STACK:0")
    assert (whole.per_element, whole.registers, whole.spilled_bytes, whole.fp64, whole.multiply_adds) == (
        5.0,
        40,
        4,
        1,
        2,
    )
    loop = count(Kernel("op", "kernel", "", values=4, bytes=8, loop=True), code, "")
    assert (loop.instructions, loop.per_element, loop.fp64) == (5, 1.2, 0)
    assert whole.ratio == pytest.approx(5 / 128 / (8 / 14.46), abs=0.01)
