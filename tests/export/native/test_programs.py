"""Programs compute what torch computes, in numpy and in the kernels, and what they cannot express is refused by its name."""

from collections.abc import Callable

import onnx_ir as ir
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from edgekit.export.convert import convert
from edgekit.export.native import Unsupported, program
from edgekit.export.passes import simplify
from edgekit.kernels import Kernels
from edgekit.models.condensenet import CondenseNet, CondenseNetOptions, converted
from edgekit.program import CODES, MANY, Program, encode, steps_of
from tests.export.native.answers import agree


class Net(nn.Module):
    """A forward function with modules."""

    def __init__(self, forward: Callable[..., Tensor], **modules: nn.Module) -> None:
        super().__init__()
        self.does = forward
        for name, module in modules.items():
            setattr(self, name, module)

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.does(self, *inputs)


def settled(module: nn.Module) -> nn.Module:
    """With batch norms that have seen something, and change signs."""
    for each in module.modules():
        if isinstance(each, nn.BatchNorm2d):
            nn.init.normal_(each.weight)
            nn.init.normal_(each.bias)
            nn.init.normal_(each.running_mean)
            nn.init.uniform_(each.running_var, 0.5, 2.0)
    return module.eval()


def model_of(module: nn.Module, *inputs: Tensor) -> ir.Model:
    named = {f"x{number}": x for number, x in enumerate(inputs)}
    with torch.no_grad():
        found = module(*inputs)
    count = len(found) if isinstance(found, tuple) else 1
    return simplify(convert(module, named, [f"y{number}" for number in range(count)]))


def agrees(kernels: Kernels, module: nn.Module, *inputs: Tensor) -> Program:
    """That the module's program gives what the module gives, in numpy and twice in the kernels."""
    made = program(model_of(module, *inputs))
    with torch.no_grad():
        found = module(*inputs)
    agree(kernels, made, inputs, found if isinstance(found, tuple) else (found,))
    return made


@settings(max_examples=60, deadline=None)
@given(
    data=st.data(),
    kernel=st.sampled_from([(1, 1), (3, 3), (5, 5), (7, 7), (1, 3), (2, 2)]),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 2),
    groups=st.sampled_from([1, 2, 4]),
    each=st.sampled_from([1, 2, 3, 5, 16, 20]),
    size=st.tuples(st.integers(5, 21), st.integers(5, 23)),
)
def test_every_convolution_is_torchs(
    kernels: Kernels,
    data: st.DataObject,
    kernel: tuple[int, int],
    stride: int,
    dilation: int,
    groups: int,
    each: int,
    size: tuple[int, int],
) -> None:
    span = [(side - 1) * dilation for side in kernel]
    padding = tuple(data.draw(st.integers(0, side + 1)) for side in span)
    if any(side + 2 * pad <= reach for side, pad, reach in zip(size, padding, span, strict=True)):
        return
    torch.manual_seed(0)
    conv = nn.Conv2d(4, groups * each, kernel, stride, padding, dilation, groups).eval()
    agrees(kernels, conv, torch.randn(1, 4, *size))


@settings(max_examples=40, deadline=None)
@given(
    maximum=st.booleans(),
    counts=st.booleans(),
    kernel=st.integers(1, 5),
    stride=st.integers(1, 3),
    padding=st.integers(0, 2),
    size=st.tuples(st.integers(5, 20), st.integers(5, 20)),
)
def test_every_pooling_is_torchs(
    kernels: Kernels,
    maximum: bool,
    counts: bool,
    kernel: int,
    stride: int,
    padding: int,
    size: tuple[int, int],
) -> None:
    padding = min(padding, kernel // 2)
    pool: nn.Module = nn.MaxPool2d(kernel, stride, padding)
    if not maximum:
        pool = nn.AvgPool2d(kernel, stride, padding, count_include_pad=counts)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), pool).eval()
    agrees(kernels, net, torch.randn(1, 3, *size))


@pytest.mark.parametrize("groups", [4, 8])
@pytest.mark.parametrize("data", ["cifar10", "imagenet"])
def test_a_condensenet_copies_no_feature(kernels: Kernels, groups: int, data: str) -> None:
    torch.manual_seed(1)
    blocks = 3 if data == "cifar10" else 5
    options = CondenseNetOptions(
        stages=(2,) * blocks, growth=(8, 8, 16, 16, 32)[:blocks], data=data, num_classes=10, group_1x1=groups, group_3x3=groups,
        condense_factor=groups,
    )  # fmt: skip
    net = CondenseNet(options)
    net.condense(1.0)
    side = 32 if data == "cifar10" else 224
    made = agrees(kernels, settled(converted(net)), torch.randn(1, 3, side, side))
    steps = [name for name, _ in steps_of(made)]
    assert not {"copy", "phases"} & set(steps)
    assert (
        steps.count("conv") == 1 + 2 * 2 * blocks
    )  # the stem, and two a layer: nothing else touches what it has computed


def test_what_several_read_is_not_changed_for_one_of_them(kernels: Kernels) -> None:
    def forward(self: Net, x: Tensor) -> Tensor:
        y = self.first(x)
        z = torch.relu(self.norm(y))
        return torch.cat([y, self.second(z), torch.relu(y)], 1)

    torch.manual_seed(2)
    net = Net(
        forward, first=nn.Conv2d(3, 6, 3, padding=1), norm=nn.BatchNorm2d(6), second=nn.Conv2d(6, 5, 3, padding=1)
    )  # fmt: skip
    agrees(kernels, settled(net), torch.randn(1, 3, 9, 11))


def test_an_output_is_as_it_was_before_the_norm_behind_it(kernels: Kernels) -> None:
    torch.manual_seed(3)
    net = Net(
        lambda self, x: (y := self.first(x), torch.relu(self.norm(y))),
        first=nn.Conv2d(3, 4, 1),
        norm=nn.BatchNorm2d(4),
    )
    agrees(kernels, settled(net), torch.randn(1, 3, 8, 8))


def test_norms_before_convolutions_see_the_padding_as_zero(kernels: Kernels) -> None:
    torch.manual_seed(4)
    net = nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.BatchNorm2d(4),
                        nn.Conv2d(4, 2, 1))  # fmt: skip
    agrees(kernels, settled(net), torch.randn(1, 3, 7, 9))


def test_residuals_limits_and_rows(kernels: Kernels) -> None:
    def forward(self: Net, x: Tensor, prior: Tensor) -> Tensor:
        y = torch.nn.functional.relu6(self.first(x))
        y = torch.relu(y + self.second(y))
        return self.last(torch.cat([y.mean((2, 3)), torch.relu(self.hidden(prior))], 1))

    torch.manual_seed(5)
    net = Net(
        forward, first=nn.Conv2d(3, 6, 3, 2, 1), second=nn.Conv2d(6, 6, 3, padding=1), hidden=nn.Linear(4, 5), last=nn.Linear(11, 3)
    )  # fmt: skip
    agrees(kernels, net.eval(), torch.randn(1, 3, 16, 16), torch.randn(1, 4))


def test_maps_that_are_flattened_are_a_row_in_torchs_order(kernels: Kernels) -> None:
    torch.manual_seed(6)
    net = nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(3 * 3 * 4, 5)
    ).eval()
    agrees(kernels, net, torch.randn(1, 2, 6, 8))


def test_weights_that_are_zero_for_a_whole_group_are_not_read() -> None:
    conv = nn.Conv2d(8, 4, 1, bias=False).eval()
    with torch.no_grad():
        conv.weight[:, 3:] = 0
    made = program(model_of(conv, torch.randn(1, 8, 4, 4)))
    at = int(made.words[list(made.words).index(CODES["conv"], 10)])
    assert at == CODES["conv"]
    dense = nn.Conv2d(8, 4, 1, bias=False).eval()
    assert len(program(model_of(dense, torch.randn(1, 8, 4, 4))).table) - len(made.table) == 5


def test_few_pixels_of_many_outputs_are_computed_across_the_outputs(kernels: Kernels) -> None:
    torch.manual_seed(7)
    made = agrees(kernels, nn.Conv2d(5, 37, 3, padding=1).eval(), torch.randn(1, 5, 4, 4))
    assert MANY in made.words.tolist()


@pytest.mark.parametrize(
    ("net", "said"),
    [
        (nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sigmoid()), "Sigmoid"),
        (nn.Sequential(nn.Conv2d(3, 4, 1), nn.Upsample(scale_factor=2)), "programs have no"),
        (Net(lambda self, x: x * x.mean((2, 3), keepdim=True)), "Mul"),
        (nn.Sequential(nn.Conv2d(3, 4, 1), nn.MaxPool2d(2, dilation=2)), "holes"),
    ],
)  # fmt: skip
def test_what_programs_have_not_is_refused_by_its_name(net: nn.Module, said: str) -> None:
    with pytest.raises(Unsupported, match=said):
        program(model_of(net.eval(), torch.randn(1, 3, 8, 8)))


def test_several_pictures_are_refused() -> None:
    with pytest.raises(Unsupported, match="one picture"):
        program(model_of(nn.Conv2d(3, 4, 1).eval(), torch.randn(2, 3, 8, 8)))


def test_equal_networks_are_equal_files() -> None:
    net, x = nn.Conv2d(3, 4, 3).eval(), torch.randn(1, 3, 8, 8)
    assert encode(program(model_of(net, x))) == encode(program(model_of(net, x)))
