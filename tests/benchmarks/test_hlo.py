"""The reader of compiled programs against a program that can be counted by hand."""

import pytest

from benchmarks.hlo import Program, size_of

# As libtpu writes them, but for the sizes: a fused convolution, fusions that take a slice and move it or write
# it into another array, a loop's body, an exchange, what only names and what is fetched ahead.
TEXT = """\
HloModule jit_step, is_scheduled=true

%add (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %sum = f32[] add(%a, %b)
}

%fused_computation (param_0: bf16[8,16,4], param_1: bf16[3,4,4]) -> bf16[8,16,4] {
  %param_0 = bf16[8,16,4]{2,0,1:T(8,128)(2,1)} parameter(0)
  %param_1 = bf16[3,4,4]{2,1,0} parameter(1)
  ROOT %convolution.1 = bf16[8,16,4]{2,0,1} convolution(%param_0, %param_1), window={size=3 pad=1_1}, \
dim_labels=b0f_0io->b0f, metadata={op_name="jit(step)/tower_0_conv/conv_general_dilated" stack_frame_id=17}
}

%fused_computation.1 (param_2: bf16[8,16,4]) -> bf16[8,1,8] {
  %param_2 = bf16[8,16,4]{2,0,1} parameter(0)
  %slice.1 = bf16[8,2,4]{2,0,1} slice(%param_2), slice={[0:8], [0:2], [0:4]}
  ROOT %reshape.1 = bf16[8,1,8]{2,0,1} reshape(%slice.1)
}

%fused_computation.2 (param_3: bf16[3,8,16], param_4: bf16[8,32]) -> bf16[24,16] {
  %param_3 = bf16[3,8,16]{2,1,0} parameter(0)
  %param_4 = bf16[8,32]{1,0} parameter(1)
  %slice.2 = bf16[8,16]{1,0} slice(%param_4), slice={[0:8], [4:20]}
  %bitcast.2 = bf16[1,8,16]{2,1,0} bitcast(%slice.2)
  %zero.2 = u32[] constant(0)
  %update.2 = bf16[3,8,16]{2,1,0} dynamic-update-slice(%param_3, %bitcast.2, %zero.2, %zero.2, %zero.2)
  ROOT %bitcast.3 = bf16[24,16]{1,0} bitcast(%update.2)
}

%body (state: (s32[], f32[32])) -> (s32[], f32[32]) {
  %state = (s32[], f32[32]{0}) parameter(0)
  %number = s32[] get-tuple-element(%state), index=0
  %value = f32[32]{0} get-tuple-element(%state), index=1
  %tanh.1 = f32[32]{0} tanh(%value)
  ROOT %result = (s32[], f32[32]{0}) tuple(%number, %tanh.1)
}

ENTRY %main (x: bf16[8,16,4], w: bf16[3,4,4], g: f32[32], s: bf16[3,8,16], y: bf16[8,32], z: bf16[3,8,16]) \
-> (bf16[8,1,8], f32[32], bf16[24,16], bf16[3,8,16]) {
  %x = bf16[8,16,4]{2,1,0} parameter(0), sharding={replicated}, metadata={op_name="x"}
  %w = bf16[3,4,4]{2,1,0} parameter(1)
  %g = f32[32]{0} parameter(2)
  %s = bf16[3,8,16]{2,1,0} parameter(3)
  %y = bf16[8,32]{1,0} parameter(4)
  %z = bf16[3,8,16]{2,1,0} parameter(5)
  %copy-start.1 = (bf16[3,4,4]{2,1,0:S(3)}, bf16[3,4,4]{2,1,0}, u32[]{:S(2)}) copy-start(%w)
  %copy.1 = bf16[8,16,4]{2,0,1} copy(%x), backend_config={"window_config":{"estimated_cycles":"700"}}
  %copy-done.1 = bf16[3,4,4]{2,1,0:S(3)} copy-done(%copy-start.1)
  %fusion.1 = bf16[8,16,4]{2,0,1} fusion(%copy.1, %copy-done.1), kind=kOutput, calls=%fused_computation, \
backend_config={"window_config":{"estimated_cycles":"900"}}
  %fusion.2 = bf16[8,1,8]{2,0,1} fusion(%fusion.1), kind=kLoop, calls=%fused_computation.1
  %all-reduce.1 = f32[32]{0} all-reduce(%g), replica_groups={{0,1}}, to_apply=%add
  %zero = s32[] constant(0)
  %tuple.1 = (s32[], f32[32]{0}) tuple(%zero, %all-reduce.1)
  %while.1 = (s32[], f32[32]{0}) while(%tuple.1), body=%body
  %last = f32[32]{0} get-tuple-element(%while.1), index=1
  %fusion.3 = bf16[24,16]{1,0} fusion(%s, %y), kind=kLoop, calls=%fused_computation.2
  %row = bf16[1,8,16]{2,1,0} bitcast(%y)
  %update.1 = bf16[3,8,16]{2,1,0} dynamic-update-slice(%z, %row, %zero, %zero, %zero)
  ROOT %results = (bf16[8,1,8]{2,0,1}, f32[32]{0}, bf16[24,16]{1,0}, bf16[3,8,16]{2,1,0}) \
tuple(%fusion.2, %last, %fusion.3, %update.1)
}
"""


def test_sizes():
    assert size_of("(bf16[2,3]{1,0:T(8,128)(2,1)}, f32[])") == 16
    assert size_of("pred[7]{0}") == 7
    assert size_of("token[]") == 0


def test_bytes_by_kind():
    found = {
        kind: (share.instructions, share.bytes, share.cycles) for kind, share in Program(TEXT).by_kind().items()
    }
    assert found == {
        "convolutions": (1, 2 * (2 * 8 * 16 * 4 + 3 * 4 * 4), 900),
        "matrix products": (0, 0, 0),
        # A copy of all, and of two positions of sixteen; twice a third of an array is written in place.
        "layout changes and copies": (4, 2 * 2 * 8 * 16 * 4 + 2 * 2 * 8 * 2 * 4 + 2 * 2 * 2 * 8 * 16, 700),
        "reductions": (0, 0, 0),
        "elementwise": (1, 2 * 4 * 32, 0),
        "collectives": (1, 2 * 4 * 32, 0),
        "others": (0, 0, 0),
    }


def test_collectives():
    found = Program(TEXT).collectives()
    assert {name: (share.instructions, share.bytes) for name, share in found.items()} == {
        "all-reduce": (1, 128)
    }


def test_a_text_that_is_no_program():
    with pytest.raises(ValueError, match="has no ENTRY"):
        Program("nothing")


def test_a_program_that_jax_compiles_here():
    jax = pytest.importorskip("jax")
    import jax.numpy as jnp

    shapes = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((64, 32), (32, 16))]
    program = Program(jax.jit(jnp.matmul).lower(*shapes).compile().as_text())
    found = {kind: share.bytes for kind, share in program.by_kind().items() if share.bytes}
    assert found == {"matrix products": 4 * (64 * 32 + 32 * 16 + 64 * 16)}
    assert program.collectives() == {}
