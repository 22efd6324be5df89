"""What `l7 install` and `l7 config apply` have to do: what there is against what is asked for. Pure.

Each step makes one thing, and the next look finds it there: a run that was broken off anywhere is finished by the
next one. What an operator did to core's service by `docker service update` survives (`l7.deploy.merge`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from l7.deploy import applied, core_service
from l7.deploy.core_service import IDENTITIES, Core, Object, Settings
from l7.deploy.first_settings import Flags, read_label
from l7.deploy.stored import CA, Stored, newest
from l7.kit.errors import ConfigError

Json = Mapping[str, Any]

# ---------------------------------------------------------------- what there is, what is asked for


@dataclass(frozen=True, slots=True)
class Existing:
    """`core`: the service as the API has it; `network`: the control network; `subnet`: a free one for it, "" where
    Swarm's own choice will do; `referred`: ids of secrets that any service refers to."""

    core: Json | None = None
    network: Object | None = None
    subnet: str = ""
    settings: tuple[Settings, ...] = ()
    config_names: frozenset[str] = frozenset()
    identities: tuple[Stored, ...] = ()
    referred: frozenset[str] = frozenset()

    @property
    def used(self) -> Settings | None:
        """The settings that core has."""
        reference = core_service.config_in_use(self.core) if self.core is not None else None
        return next((each for each in self.settings if reference and each.id == reference.id), None)


@dataclass(frozen=True, slots=True)
class Asked:
    """`image` "": core's as it is. `text`: of a TOML file, None for none; `flags`: options that were given, by
    field of `Flags`. `paths`: fields of `Core` that say where the manager's sockets are."""

    image: str = ""
    text: str | None = None
    flags: Mapping[str, object] = field(default_factory=dict)
    paths: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Wanted:
    """The settings to run with; `options` as in `Settings`."""

    text: str
    options: str = ""


def wanted_settings(existing: Existing, asked: Asked) -> Wanted:
    """Those that are asked for. Raises ConfigError where options would overwrite what a person wrote."""
    if asked.text is not None:
        return Wanted(asked.text)
    used = existing.used
    if used is None:
        flags = Flags().changed(asked.flags)
        return Wanted(flags.text(), flags.label())
    before = read_label(used.options)
    if not asked.flags:
        return Wanted(used.text, used.options)
    if before is None:
        reason = (
            f"the settings in force ({used.name}) were written by hand: change them there, and `l7 config apply`"
        )
        raise ConfigError(_option(next(iter(asked.flags))), reason)
    flags = before.changed(asked.flags)
    # The same options keep the text, whatever a later version would write for them.
    return Wanted(used.text, used.options) if flags == before else Wanted(flags.text(), flags.label())


def _option(field: str) -> str:
    return f"--{field.replace('_', '-')}"


# ---------------------------------------------------------------- steps


@dataclass(frozen=True, slots=True)
class MakeNetwork:
    spec: Json

    def __str__(self) -> str:
        subnet = (self.spec.get("IPAM") or {}).get("Config") or ()
        return f"make the network {self.spec['Name']}" + "".join(f" ({each['Subnet']})" for each in subnet)


@dataclass(frozen=True, slots=True)
class MakeIdentities:
    """`discarded`: secrets that a run before left half-made; nobody can read them any more."""

    missing: tuple[str, ...]
    discarded: tuple[Stored, ...] = ()

    def __str__(self) -> str:
        again = " anew (what is there was never used, and can't be read back)" if self.discarded else ""
        return f"make the secrets {', '.join(self.missing)}{again}"


@dataclass(frozen=True, slots=True)
class MakeConfig:
    spec: Json

    def __str__(self) -> str:
        return f"make the config {self.spec['Name']} with the settings"


@dataclass(frozen=True, slots=True)
class CreateCore:
    spec: Json

    def __str__(self) -> str:
        image = self.spec["TaskTemplate"]["ContainerSpec"]["Image"]
        return f"make the service {self.spec['Name']} from {image}, on a manager"


@dataclass(frozen=True, slots=True)
class UpdateCore:
    """`changes`: in words."""

    service: Json
    spec: Json
    changes: tuple[str, ...]

    def __str__(self) -> str:
        return f"update the service {self.spec['Name']}: {', '.join(self.changes)}"


Step: TypeAlias = MakeNetwork | MakeIdentities | MakeConfig | CreateCore | UpdateCore


def install_steps(existing: Existing, asked: Asked) -> tuple[Step, ...]:
    """All that is left to do. Ids of what is still to be made are "" in the specification of core's service."""
    found: list[Step] = []
    network = existing.network
    if network is None:
        found.append(MakeNetwork(core_service.network_spec(existing.subnet)))
        network = Object("", core_service.NETWORK)
    if identities := _identities(existing):
        found.append(identities)
    config = _config(existing, wanted_settings(existing, asked))
    if isinstance(config, MakeConfig):
        found.append(config)
        config = Object("", str(config.spec["Name"]))
    core = Core(_image(existing, asked), network, config, _secrets(existing), **asked.paths)
    return (*found, *_core(existing, core_service.core_spec(core)))


def settings_steps(existing: Existing, asked: Asked) -> tuple[Step, ...]:
    """The same, of a core that runs already, whoever made it; nothing but its settings and its image changes."""
    if existing.core is None:
        raise ConfigError(core_service.SERVICE, "there is no core in this Swarm: `l7 install` makes one")
    found: list[Step] = []
    spec = _with_image(existing.core["Spec"], asked.image)
    if asked.text is not None:
        config = _config(existing, Wanted(asked.text))
        if isinstance(config, MakeConfig):
            found.append(config)
            config = Object("", str(config.spec["Name"]))
        spec = _with_config(spec, config)
    if spec != existing.core["Spec"]:
        found.append(UpdateCore(existing.core, spec, changes(existing.core["Spec"], spec)))
    return tuple(found)


def _identities(existing: Existing) -> MakeIdentities | None:
    """Those that core can't do without. A CA that no service has is a CA that nobody can read."""
    generation = newest(existing.identities)
    there = {each.base for each in existing.identities if each.generation in (1, generation)}
    missing = tuple(base for base in IDENTITIES if base not in there)
    if not missing:
        return None
    unused = not any(each.id in existing.referred for each in existing.identities)
    discarded = existing.identities if unused and CA in there else ()
    return MakeIdentities(IDENTITIES if discarded else missing, tuple(discarded))


def _config(existing: Existing, wanted: Wanted) -> Object | MakeConfig:
    """The one in use when it says the same, else one that a run before has made, else a new one."""
    used = existing.used
    if used is not None and used.text == wanted.text:
        return Object(used.id, used.name)
    made = max(existing.settings, key=lambda each: each.number, default=None)
    if made is not None and made.number and (made.text, made.options) == (wanted.text, wanted.options):
        return Object(made.id, made.name)
    name = core_service.next_config(existing.config_names)
    return MakeConfig(core_service.config_spec(name, wanted.text, wanted.options))


def _image(existing: Existing, asked: Asked) -> str:
    if asked.image or existing.core is None:
        return asked.image
    return str(core_service.container_of(existing.core)["Image"])


def _secrets(existing: Existing) -> dict[str, Stored]:
    """Of the newest generation."""
    generation = newest(existing.identities)
    return {each.base: each for each in existing.identities if each.generation in (1, generation)} | {
        each.base: each for each in existing.identities if each.generation == generation
    }


# ---------------------------------------------------------------- core's service


def _core(existing: Existing, wanted: dict[str, Any]) -> tuple[Step, ...]:
    if existing.core is None:
        return (CreateCore(applied.marked(wanted, wanted)),)
    current = existing.core["Spec"]
    merged = applied.merged(wanted, current)
    if merged == current:
        return ()
    return (UpdateCore(existing.core, merged, changes(current, merged)),)


def _with_image(spec: Json, image: str) -> dict[str, Any]:
    template = spec["TaskTemplate"]
    container = template["ContainerSpec"]
    container = {**container, "Image": image} if image else container
    return {**spec, "TaskTemplate": {**template, "ContainerSpec": container}}


def _with_config(spec: Json, config: Object) -> dict[str, Any]:
    template = spec["TaskTemplate"]
    container = template["ContainerSpec"]
    new = core_service.config_reference(config)
    others = [each for each in container.get("Configs") or () if _file(each) != _file(new)]
    container = {**container, "Configs": [*others, new], "Env": _settings_file(container.get("Env") or ())}
    return {**spec, "TaskTemplate": {**template, "ContainerSpec": container}}


def _settings_file(environment: Iterable[str]) -> list[str]:
    """The variable by which core reads the file, for a core that had none before."""
    named = f"L7_CONFIG={core_service.CONFIG_FILE}"
    words = list(environment)
    if named in words:
        return words
    return [*(each for each in words if not each.startswith("L7_CONFIG=")), named]


def _file(reference: Json) -> str:
    return str((reference.get("File") or {}).get("Name", ""))


def changes(before: Json, after: Json) -> tuple[str, ...]:
    """What differs between two specifications of core's service, in words."""
    old, new = ((each["TaskTemplate"]["ContainerSpec"]) for each in (before, after))
    told = []
    if old["Image"] != new["Image"]:
        told.append(f"image {old['Image']} -> {new['Image']}")
    if old.get("Configs") != new.get("Configs"):
        told.append(f"settings {_config_name(before) or 'none'} -> {_config_name(after)}")
    parts = {key for key in {**old, **new} if old.get(key) != new.get(key)} - {"Image", "Configs"}
    parts |= {key for key in {**before, **after} if before.get(key) != after.get(key)} - {"TaskTemplate", "Labels"}
    one, two = before["TaskTemplate"], after["TaskTemplate"]
    parts |= {key for key in {**one, **two} if one.get(key) != two.get(key)} - {"ContainerSpec"}
    return (*told, *sorted(parts)) or ("what it was made from",)


def _config_name(spec: Json) -> str:
    reference = core_service.config_in_use({"Spec": spec})
    return reference.name if reference else ""
