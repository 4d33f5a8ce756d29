"""Which commands are there, and how does a run of one end?"""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from typing import NoReturn

import click

import spectranet
from spectranet.cli.addressed import AddressedGroup
from spectranet.errors import SpectraNetError

__all__ = ["main", "root"]

CORE_COMMANDS = {
    "config": ("spectranet.cli.config:config", "Show the merged configuration; list presets."),
    "data": ("spectranet.cli.data:data", "Prepare training data and look at it."),
    "eval": ("spectranet.cli.eval:eval_", "Measure a trained model on held-out data."),
    "new": ("spectranet.cli.new:new", "Make a plugin package of your own."),
    "plan": ("spectranet.cli.plan:plan", "Say whether a run fits and what it costs."),
    "plugins": ("spectranet.cli.plugins:plugins", "List the installed plugins; check them."),
    "report": ("spectranet.cli.report:report", "Write the report page of a run."),
    "reproduce": ("spectranet.cli.reproduce:reproduce", "Run a step again that was not finite."),
    "train": ("spectranet.cli.train:train", "Train a model, alone or under torchrun."),
}
"""Name -> (address, line of help). The help stands here so that listing imports no command."""


_SPEAKER_S = 30.0
"""Ranks of a node start together; this is how far apart they may meet a mistake that is the same for all."""


class LazyGroup(AddressedGroup):
    """The core's commands by address, then those of plugins; imported when they are asked for."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in self.addresses:
            return super().get_command(ctx, cmd_name)
        from spectranet.cli.plugin_commands import find_command

        return find_command(cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from spectranet.cli.plugin_commands import announced_commands

        super().format_commands(ctx, formatter)
        commands, others = announced_commands()
        if commands:
            with formatter.section("Commands of plugins"):
                formatter.write_dl(commands)
        if others:
            formatter.write_paragraph()
            formatter.write_text(
                f"More may come from {', '.join(others)}: 'spectranet plugins --check' lists them."
            )


@click.group(cls=LazyGroup, addresses=CORE_COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(spectranet.__version__, prog_name="spectranet-core")
def root() -> None:
    """Train one transformer on images, video, audio and text together."""


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run a command and exit: 0 done, 1 a fault of ours, 2 a mistake that the user can mend, 130 interrupted.

    Training adds 3 (diverged) and 75 (stopped by a scheduler, to be repeated); see ``train/stopping/``.

    With SPECTRANET_DEBUG=1 mistakes come with their traceback.
    """
    code = _outcome(args)
    if _in_process_group():
        from spectranet.train.distributed import leave

        leave(code)
    sys.exit(code)


def _outcome(args: Sequence[str] | None) -> int:
    """Run a command; what went wrong is printed, and the exit code returned."""
    try:
        code = root.main(args=args, prog_name="spectranet", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except SpectraNetError as error:
        if os.environ.get("SPECTRANET_DEBUG") == "1":
            traceback.print_exc()
        # What is wrong with samples or training concerns one rank, and may be known to no other.
        if not error.same_on_all_ranks or _speaks_for_its_node() or _is_left_alone():
            print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except click.ClickException as error:
        if _speaks_for_its_node() or _is_left_alone():
            context = error.ctx if isinstance(error, click.UsageError) else None
            where = context.command_path if context else "spectranet"
            print(f"error: {_sentence(error, args)}\n  help:  {where} --help", file=sys.stderr)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader has gone (`| head`); Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception:
        traceback.print_exc()
        return 1


def _speaks_for_its_node() -> bool:
    """False on all but one rank of a node: under torchrun each mistake would be told by every rank.

    It is one of every node, not of the whole run, since files may be missing on one node alone.
    """
    rank = os.environ.get("RANK", "0")
    return rank == "0" or os.environ.get("LOCAL_RANK", rank) == "0"


def _is_left_alone() -> bool:
    """Wait for the rank that speaks for this node; False when it will have spoken.

    torchrun ends all ranks when the first has failed. The one that is silent must not be it, or the one that
    speaks may be ended before it has spoken. Who is still there after a while has to speak for itself.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return False
    for number in (signal.SIGTERM, signal.SIGINT):  # whoever trains has other handlers
        signal.signal(number, signal.SIG_DFL)
    time.sleep(_SPEAKER_S)
    return True


def _sentence(error: click.ClickException, args: Sequence[str] | None) -> str:
    """What click says; for an option that is a key of the configuration, how keys are written."""
    if not isinstance(error, click.NoSuchOption) or error.ctx is None:
        return error.format_message()
    if all(parameter.name != "overrides" for parameter in error.ctx.command.params):
        return error.format_message()
    from spectranet.cli.keys import keys_like

    name, _, given = error.option_name.partition("=")
    words = list(sys.argv[1:] if args is None else args)
    for i, word in enumerate(words):
        if word == name and i + 1 < len(words) and not words[i + 1].startswith("-"):
            given = given or words[i + 1]
        elif word.startswith(f"{name}="):
            given = word.partition("=")[2]
    keys = keys_like(name)
    if not keys:
        return error.format_message()
    examples = " or ".join(f"{key}={given or '…'}" for key in keys)
    return f"no option '{name}'; options are written KEY=VALUE: {examples}"


def _in_process_group() -> bool:
    """Whether the command joined a process group, without importing torch to find out."""
    distributed = sys.modules.get("torch.distributed")
    return distributed is not None and distributed.is_available() and distributed.is_initialized()
