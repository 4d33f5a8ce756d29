"""What the contract asks of every plugin, whatever it brings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import entry_points
from typing import Any, ClassVar

from spectranet.addresses import lazy
from spectranet.contracts import Modality, Objective
from spectranet.errors import PluginError, did_you_mean
from spectranet.plugins import FIRST_PARTY, PLUGIN_API, PluginHost, PluginInfo, discover
from spectranet.testing.clause import BrokenClauseError, clause, require, words_of
from spectranet.testing.package.core_requirement import requirement_flaw
from spectranet.testing.package.fresh_import import IMPORT_LIMIT_S, ImportFacts, import_facts
from spectranet.testing.package.imported_names import CORE, Import, imports, is_public
from spectranet.testing.package.option_checks import accepted_unknown, round_trip_flaw, undocumented
from spectranet.testing.package.own_sources import is_test, own_sources

__all__ = ["PackageConformance"]

_PLURAL = {"modality": "modalities", "objective": "objectives"}


class PackageConformance:
    """To be inherited through :class:`ModalityConformance` or :class:`ObjectiveConformance`.

    Attributes:
        plugin: name of the entry point, as ``--plugins`` takes it.
        name: name of the modality or objective that it brings.
        options: values of its options for these tests, where they differ from the defaults; small
            ones make the tests quick.
        kind: ``modality`` or ``objective``.
    """

    plugin: ClassVar[str]
    name: ClassVar[str]
    options: ClassVar[Mapping[str, Any]] = {}
    kind: ClassVar[str]

    @classmethod
    def host(cls) -> PluginHost:
        """The host with this plugin alone.

        Raises:
            PluginError: it is not installed, or cannot be loaded.
        """
        return _host(cls.plugin)

    @classmethod
    def declaration(cls) -> Any:
        """The :class:`Modality` or :class:`Objective` that the plugin brings under ``name``.

        Raises:
            PluginError: the plugin cannot be loaded, or brings no such thing.
        """
        brought: Mapping[str, Modality | Objective] = getattr(cls.host(), _PLURAL[cls.kind])
        if cls.name not in brought:
            others = ", ".join(brought) or f"no {cls.kind} at all"
            raise PluginError(
                f"plugin '{cls.plugin}' brings no {cls.kind} '{cls.name}'.{did_you_mean(cls.name, brought)}\n"
                f"  it brings: {others}"
            )
        return brought[cls.name]

    @classmethod
    def who(cls) -> str:
        """How failures call it."""
        return f"{cls.name} of plugin '{cls.plugin}'"

    @classmethod
    def only_where(cls, holds: object, otherwise: str) -> None:
        """Leave out a clause about what a plugin need not have; ``otherwise`` says what it lacks."""
        if not holds:
            import pytest

            pytest.skip(otherwise)

    @classmethod
    def config(cls, **options: Any) -> Any:
        """The options that are tested: defaults, the class's ``options``, then ``options``."""
        return cls.declaration().config(**{**cls.options, **options})

    @clause
    def test_one_entry_point(self) -> None:
        """Exactly one entry point of the group ``spectranet.plugins.v1`` offers the plugin.

        Read from the metadata of what is installed. The group stands in ``pyproject.toml``, quoted
        because of its dots: ``[project.entry-points."spectranet.plugins.v1"]``, and below it
        ``lidar = "spectranet_lidar.plugin"``; after a change the package must be installed again. A
        second distribution with an entry point of this name would make ``--plugins`` ambiguous.
        """
        offers = _offers(self.plugin)
        where = [f"{info.release} ({info.target})" for info in offers] or _elsewhere(self.plugin)
        require(
            len(offers) == 1,
            _list(f"{_count(offers)} '{self.plugin}' in that group", where),
        )

    @clause
    def test_core_requirement_capped(self) -> None:
        """The distribution requires ``spectranet-core`` from the oldest version it works with up to
        the next major, and the installed core is one of these.

        Write ``spectranet-core>=0.2,<1`` among the ``dependencies`` in ``pyproject.toml``. Without
        a cap, a core with another contract could be installed beside your users' plugin some day;
        without a lower bound, one that lacks what the plugin uses. ``spectranet.plugins.v1`` is
        promised for 0.x and 1.x, so the cap may be ``<2`` at most.
        """
        flaw = requirement_flaw(self._info().distribution)
        require(not flaw, flaw)

    @clause
    def test_import_is_quick(self) -> None:
        """Importing the plugin's module takes less than a second over importing the core.

        Its CPU time, measured in a fresh process, in which the core and numpy are imported before;
        the best of three where the first takes longer. Time asleep counts too. Every start of
        ``spectranet`` imports the module, also ``spectranet plugins`` and each rank. Name what is
        heavy by ``lazy("package.module:name")``, or import it inside the function that needs it.
        ``python -X importtime -c "import spectranet_lidar.plugin"`` shows where the time goes.
        """
        facts = self._import()
        seconds = facts.cpu_s + facts.slept_s
        asleep = f", {facts.slept_s:.2f} s of it asleep" if facts.slept_s else ""
        took = f"{seconds:.2f} s to import {self._module()}{asleep}"
        require(seconds < IMPORT_LIMIT_S, took + _with_heavy(facts))

    @clause
    def test_import_is_light(self) -> None:
        """Importing the plugin's module loads no torch, no transformers and no framework of their
        size.

        Seen in a fresh process. ``spectranet plugins`` and ``spectranet --help`` read declarations
        and must not wait for torch. Name what needs it by
        ``lazy("spectranet_lidar.encoder:build_encoder")``; for annotations import it under ``if
        TYPE_CHECKING:``.
        """
        heavy = self._import().heavy
        loads = [f"{name} (asked for at {place})" if place else name for name, place in heavy.items()]
        require(not loads, f"importing {self._module()} loads {', '.join(loads)}")

    @clause
    def test_import_is_offline(self) -> None:
        """Importing the plugin's module opens no socket and looks up no host.

        Seen in a fresh process by an audit hook, which also refuses the connection, so that nothing
        leaves the machine. Many clusters have no network on the nodes that train. Take files from a
        path that an option names, when they are needed.
        """
        facts = import_facts(self._module())
        require(not facts.network, _list(f"importing {self._module()}", facts.network))
        require(not facts.error, f"{self._module()} cannot be imported: {facts.error}")

    @clause
    def test_import_is_inert(self) -> None:
        """Importing the plugin's module changes nothing outside of it: no file, process, thread,
        environment variable, working directory, signal handler, warning filter, random state, path
        or logger, no output.

        Seen in a fresh process, by an audit hook and by comparing the process before and after;
        what a library does on behalf of the plugin counts, since the user's run is changed all the
        same. Move it into the function that needs it; of a library that does it, move the import
        there too.
        """
        facts = self._import()
        found = _list(f"importing {self._module()}", facts.effects)
        require(not facts.effects, found + _with_heavy(facts))

    @clause
    def test_hooks_are_known(self) -> None:
        """Every hook that the plugin implements is one of the core's, marked with ``@hookimpl``; it
        implements at least one, and brings what the test names.

        The host itself loads the plugin, alone, as ``--plugins`` would, and what it says is what
        was found. docs/hooks.md has all hooks.
        """
        try:
            self.declaration()
        except PluginError as refusal:
            # What made the host refuse, such as a failing import, is the plugin's own, and is shown whole.
            raise BrokenClauseError(words_of(refusal)) from refusal.__cause__

    @clause
    def test_addresses_resolve(self) -> None:
        """Every address in the declaration, ``lazy("package.module:name")``, leads to something that can
        be called.

        Each is imported here. In a run that happens when it is first called, which may be long after the
        start; ``spectranet plugins --check`` reads the declaration alone. Write the address of what you
        mean, or drop the field where it may be left out.
        """
        declaration = self.declaration()
        owners = (declaration, getattr(declaration, "trunk", None))
        fields = [value for owner in owners if owner for value in vars(owner).values()]
        faults = [fault for value in fields if isinstance(value, lazy) and (fault := _dangles(value))]
        require(not faults, _list("what leads nowhere:", faults))

    @clause
    def test_options_are_documented(self) -> None:
        """The options are a dataclass; each has a default and one line of help.

        Nested dataclasses too, and the options of the trunk. ``width: int = option(256, "width of the
        encoder")`` says both; ``spectranet config show`` prints them.
        """
        missing = [sentence for options in self._options() for sentence in undocumented(options)]
        require(not missing, "; ".join(dict.fromkeys(missing)))

    @clause
    def test_options_round_trip(self) -> None:
        """The options survive OmegaConf and YAML: written to a file and read again they are equal.

        Defaults, and the values of the test's ``options``. Runs and checkpoints keep their
        configuration as such a file. Use what YAML has: numbers, text, booleans, lists, dicts with
        text keys, dataclasses of these, and ``| None``. A ``__post_init__`` that changes what it is
        given changes it again.
        """
        flaws = [flaw for options in self._options() if (flaw := round_trip_flaw(options))]
        require(not flaws, "; ".join(flaws))

    @clause
    def test_unknown_options_are_refused(self) -> None:
        """An option that the dataclass does not have is refused, in Python and in a configuration
        file.

        Otherwise a misspelt option would train with the default. Leave ``__init__`` to
        ``@dataclass``, and do not derive the options from ``dict``.
        """
        ways = [way for options in self._options() if (way := accepted_unknown(type(options)))]
        require(not ways, "; ".join(ways))

    @clause
    def test_public_names_only(self) -> None:
        """The plugin imports from the core only names in ``spectranet.__all__``.

        Read from all its sources, without running them: at the top, inside functions, under
        ``TYPE_CHECKING``, and by address (``lazy("spectranet.x:y")``). Everything else in the core
        may change in any release. Tests may import ``spectranet.testing`` too. If a name that you
        need is missing, open an issue.
        """
        private = [
            f"{place}: {found}"
            for place, found, in_tests in _imports(self._info())
            if found.package == CORE and not is_public(found, in_tests)
        ]
        require(not private, _list("it imports what is not in spectranet.__all__", private))

    @clause
    def test_no_other_plugin(self) -> None:
        """The plugin imports no other plugin.

        Read from all its sources, as for the public names. Users choose plugins one by one, and
        each must work with any others. What two plugins share goes into a package that is no
        plugin; modalities that share a network name the same ``Trunk``.
        """
        own, others = self._module().partition(".")[0], _plugin_packages()
        foreign = [
            f"{place}: {found}"
            for place, found, _ in _imports(self._info())
            if found.package in others and found.package != own
        ]
        require(not foreign, _list("it imports", foreign))

    def _info(self) -> PluginInfo:
        """The metadata of the plugin; where several offer it, of any."""
        offers = _offers(self.plugin)
        require(offers, f"no entry point '{self.plugin}' in the group spectranet.plugins.v{PLUGIN_API}")
        return offers[0]

    def _module(self) -> str:
        return self._info().target.partition(":")[0]

    def _import(self) -> ImportFacts:
        """What importing does. Where a refused connection ended it, what was seen until then."""
        facts = import_facts(self._module())
        require(facts.network or not facts.error, f"{self._module()} cannot be imported: {facts.error}")
        return facts

    def _options(self) -> Iterator[Any]:
        """Instances of the options, with the values of the class and with defaults, and the trunk's."""
        declaration = self.declaration()
        yield declaration.config()
        if self.options:
            yield declaration.config(**self.options)
        if trunk := getattr(declaration, "trunk", None):
            yield trunk.config()


@cache
def _offers(plugin: str) -> list[PluginInfo]:
    """What metadata says of the plugin, for this major version of the contracts."""
    return [info for info in discover() if info.name == plugin and info.api == PLUGIN_API]


def _elsewhere(plugin: str) -> list[str]:
    """Where an entry point of this name stands instead: in a group that is called nearly so."""
    near = [point for point in entry_points(name=plugin) if point.group.startswith("spectranet")]
    return [f"there is one in the group '{point.group}' ({point.value})" for point in near]


def _dangles(address: lazy) -> str:
    """Why an address leads to nothing; empty where it leads somewhere."""
    try:
        found = address.resolve()
    except PluginError as error:
        return str(error).partition("\n")[0]
    return "" if callable(found) else f"{address.address} is no function or class, but {found!r:.40}"


def _count(offers: list[PluginInfo]) -> str:
    return f"{len(offers)} entry points" if offers else "no entry point"


def _with_heavy(facts: ImportFacts) -> str:
    """A framework takes long and changes much by itself: whoever imports one should mend that first."""
    return (
        f"\nsome of it may come with {', '.join(facts.heavy)}; mend 'import-is-light' first"
        if facts.heavy
        else ""
    )


def _list(title: str, facts: list[str]) -> str:
    """A line each, below a title."""
    return "\n".join([title, *(f"  {fact}" for fact in dict.fromkeys(facts))])


@cache
def _imports(info: PluginInfo) -> list[tuple[str, Import, bool]]:
    """(file:line, what it imports, whether in a test) over the plugin's sources."""
    return [
        (f"{name}:{found.line}", found, is_test(name))
        for name, path in own_sources(info)
        for found in imports(path.read_text(encoding="utf-8"), name)
    ]


def _plugin_packages() -> set[str]:
    """Import packages of all plugins that are known: installed ones, and first-party ones in any case."""
    installed = {info.target.partition(":")[0].partition(".")[0] for info in discover()}
    return installed | {known.distribution.replace("-", "_") for known in FIRST_PARTY.values()}


@cache
def _host(plugin: str) -> PluginHost:
    return PluginHost.load([plugin])
