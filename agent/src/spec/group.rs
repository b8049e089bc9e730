//! One group's spec, out of its tree.

use std::collections::{BTreeMap, BTreeSet};

use muster_flavors as flavors;
use muster_provisioners::{self as provisioners, Attachment, Properties};

use super::Registries;
use super::fields::{Fields, Read, shorten};
use super::problem::Found;
use super::tree::{Node, NodeKind, Span};
use crate::fleet::limits::{
    LABEL_KEY_BYTES_MAX, LABEL_VALUE_BYTES_MAX, LABELS_MAX, MACHINES_MAX, MINUTE_MS, PETS_MAX,
    SPEC_BYTES_MAX, WORD_BYTES_MAX, ZONES_MAX,
};
use crate::fleet::names::{GroupId, MachineName};
use crate::fleet::spec::{
    Allocation, BudgetPolicy, FlavorSpec, GroupSpec, HealMode, HealPolicy, InstanceSpec, Labels,
    PetSpec, Placement, Unreachable,
};
use crate::fleet::{LEASE_MS_MAX, LEASE_MS_MIN, LeaseTerms, RUN_MS_MIN, STOP_MS_MIN};

/// The provisioner of groups that name none: the one that every agent has.
pub(super) const PROVISIONER_DEFAULT: &str = "process";
/// The flavor of groups that name none.
pub(super) const FLAVOR_DEFAULT: &str = "vanilla";

/// The mesh needs up to this long to be sure that a machine doesn't answer (`docs/timing.md`). What acts sooner
/// acts on noise.
const VERDICT_MS: u64 = 6_000;
/// A silence counts from the suspicion. What is shorter than this may be the refutation that is still on its way.
const SILENCE_MS: u64 = 3_000;
/// Longer durations are slips of the unit.
const DURATION_MS_MAX: u64 = 30 * 24 * 3600 * 1000;

/// Reads the group that `node` describes. Everything that is wrong goes to `problems`; what can't be told from it
/// is `None`.
pub(super) fn read(
    node: &Node,
    path: &str,
    registries: &Registries,
    problems: &mut Vec<Found>,
) -> Option<Read<GroupSpec>> {
    let mut fields = Fields::open(node, path, problems)?;
    let id = read_id(&mut fields);
    if let Some(id) = &id {
        fields.rename(format!("group.{}", id.value));
    }
    let instance = read_plugin(&mut fields, "instance", "provisioner", PROVISIONER_DEFAULT);
    let allocation = read_allocation(&mut fields, &instance.name);
    let flavor = read_plugin(&mut fields, "flavor", "name", FLAVOR_DEFAULT);
    let labels = read_labels(&mut fields);
    let placement = fields
        .object("placement", read_placement)
        .unwrap_or_default();
    let defaults = HealPolicy::defaults(&instance.name);
    let heal = fields
        .object("heal", |heal| read_heal(heal, &defaults))
        .unwrap_or(defaults);
    validate_plugins(
        &mut fields,
        node,
        registries,
        allocation.as_ref(),
        &instance,
        &flavor,
    );
    if let (Some(Allocation::Cattle { .. }), Some(_)) = (&allocation, &heal.lease) {
        let what = "cattle run without leases: nothing is lost when two of them do";
        let remedy = "remove it, or name the machines: members = [\"db-1\"]";
        fields.problem(node.locate("heal.lease"), "heal.lease", what, remedy);
    }
    let span = id.as_ref().map_or(0..0, |id| id.span.clone());
    let spec = id.zip(allocation).map(|(id, allocation)| GroupSpec {
        id: id.value,
        allocation,
        instance: InstanceSpec {
            provisioner: instance.name,
            properties: instance.properties,
        },
        flavor: FlavorSpec {
            name: flavor.name,
            properties: flavor.properties,
        },
        labels,
        placement,
        heal,
    });
    if let Some(spec) = &spec {
        check_size(&mut fields, &span, spec);
    }
    fields.finish();
    Some(Read { value: spec?, span })
}

fn read_id(fields: &mut Fields<'_, '_>) -> Option<Read<GroupId>> {
    let Some(id) = fields.text("id", "\"web\"") else {
        if !fields.has_problem_with("id") {
            fields.missing("id", "name the group: id = \"web\"");
        }
        return None;
    };
    match GroupId::new(id.value) {
        Ok(value) => Some(Read {
            value,
            span: id.span,
        }),
        Err(error) => {
            fields.problem(
                id.span,
                "id",
                error.to_string(),
                "write for example id = \"web\"",
            );
            None
        }
    }
}

// === how many, or which ===

fn read_allocation(fields: &mut Fields<'_, '_>, provisioner: &str) -> Option<Allocation> {
    let size = fields.integer("size", "3");
    let members = fields.list("members", "[\"db-1\", \"db-2\"]");
    match (size, members) {
        (Some(size), None) => {
            if size.value as usize > MACHINES_MAX {
                let what = format!("{} is more than a fleet can have", size.value);
                let remedy = format!("write at most {MACHINES_MAX}");
                fields.problem(size.span, "size", what, remedy);
            }
            Some(Allocation::Cattle { size: size.value })
        }
        (None, Some(members)) => Some(Allocation::Pets {
            members: read_members(fields, &members, provisioner),
        }),
        (Some(size), Some(_)) => {
            fields.problem(
                size.span,
                "size",
                "a group has either a size (cattle) or members (pets), and this one has both",
                "remove one of the two",
            );
            None
        }
        (None, None) => {
            if !fields.has_problem_with("size") && !fields.has_problem_with("members") {
                fields.missing(
                    "size",
                    "write size = 3 for cattle, or members = [\"db-1\"] for pets",
                );
            }
            None
        }
    }
}

fn read_members(
    fields: &mut Fields<'_, '_>,
    list: &Read<&[Node]>,
    provisioner: &str,
) -> BTreeMap<MachineName, PetSpec> {
    if list.value.is_empty() {
        let remedy =
            "name them: members = [\"db-1\"]; to be rid of a group use `muster group destroy`";
        fields.problem(
            list.span.clone(),
            "members",
            "a group of pets without pets",
            remedy,
        );
    } else if list.value.len() > PETS_MAX {
        let what = format!("{} members are too many for one group", list.value.len());
        let remedy = format!("use several groups of at most {PETS_MAX}");
        fields.problem(list.span.clone(), "members", what, remedy);
    }
    let mut members = BTreeMap::new();
    for (index, item) in list.value.iter().take(PETS_MAX).enumerate() {
        let name = format!("members[{index}]");
        let Some((pet, attachments)) = read_member(fields, item, &name) else {
            continue;
        };
        let spec = PetSpec {
            attachments: attachments.unwrap_or_else(|| implied_attachments(provisioner, &pet)),
        };
        if members.insert(pet.clone(), spec).is_some() {
            let what = format!("`{pet}` is named twice");
            fields.problem(item.span.clone(), &name, what, "name each member once");
        }
    }
    members
}

/// `"db-1"`, or `{ id = "db-1", attachments = [{ id = "vol-1", kind = "disk" }] }`.
fn read_member(
    fields: &mut Fields<'_, '_>,
    item: &Node,
    name: &str,
) -> Option<(MachineName, Option<Vec<Attachment>>)> {
    let (text, span, attachments) = match &item.kind {
        NodeKind::Text(text) => (text.as_str(), item.span.clone(), None),
        _ => fields.element(item, name, |member| {
            let id = member.text("id", "\"db-1\"");
            if id.is_none() && !member.has_problem_with("id") {
                member.missing("id", "name the member: id = \"db-1\"");
            }
            let attachments = read_attachments(member);
            id.map(|id| (id.value, id.span, attachments))
        })??,
    };
    match MachineName::new(text) {
        Ok(pet) => Some((pet, attachments)),
        Err(error) => {
            fields.problem(span, name, error.to_string(), "write for example \"db-1\"");
            None
        }
    }
}

/// What a pet has where its spec doesn't say: on this computer a directory of its own, which its next machine gets.
/// Elsewhere nobody can know.
pub(super) fn implied_attachments(provisioner: &str, pet: &MachineName) -> Vec<Attachment> {
    if provisioner == PROVISIONER_DEFAULT {
        vec![Attachment::new(pet.as_str(), "")]
    } else {
        Vec::new()
    }
}

fn read_attachments(member: &mut Fields<'_, '_>) -> Option<Vec<Attachment>> {
    let example = "[{ id = \"vol-1\", kind = \"disk\" }]";
    let list = member.list("attachments", example)?;
    let mut attachments = Vec::new();
    for (index, item) in list.value.iter().enumerate() {
        let name = format!("attachments[{index}]");
        let read = member.element(item, &name, |fields| {
            let id = fields.text("id", "\"vol-1\"");
            let kind = fields.text("kind", "\"disk\"");
            if id.is_none() && !fields.has_problem_with("id") {
                fields.missing("id", format!("write for example {example}"));
            }
            Some(Attachment::new(
                id?.value,
                kind.map_or("", |kind| kind.value),
            ))
        });
        attachments.extend(read.flatten());
    }
    Some(attachments)
}

// === provisioner and flavor ===

/// A provisioner or flavor with its own properties.
struct Plugin {
    name: String,
    properties: Properties,
}

fn read_plugin(
    fields: &mut Fields<'_, '_>,
    table: &'static str,
    key: &'static str,
    default: &str,
) -> Plugin {
    let plugin = fields.object(table, |inner| {
        let name = inner.text(key, &format!("\"{default}\""));
        let properties = inner.take("properties").map(|entry| {
            Properties::from_value(entry.node.to_value()).unwrap_or_else(|error| {
                let remedy = "write a table of the settings that it understands";
                inner.problem(
                    entry.node.span.clone(),
                    "properties",
                    error.to_string(),
                    remedy,
                );
                Properties::new()
            })
        });
        Plugin {
            name: name.map_or(default, |name| name.value).to_owned(),
            properties: properties.unwrap_or_default(),
        }
    });
    plugin.unwrap_or_else(|| Plugin {
        name: default.to_owned(),
        properties: Properties::new(),
    })
}

/// Has provisioner and flavor check their own parts, and finds where each problem was written.
fn validate_plugins(
    fields: &mut Fields<'_, '_>,
    node: &Node,
    registries: &Registries,
    allocation: Option<&Allocation>,
    instance: &Plugin,
    flavor: &Plugin,
) {
    let mut report = |table: &str, problem: provisioners::Problem| {
        let name = if problem.field.is_empty() {
            table.to_owned()
        } else {
            format!("{table}.{}", problem.field)
        };
        fields.problem(node.locate(&name), &name, problem.reason, problem.remedy);
    };
    for problem in registries
        .provisioners
        .validate(&instance.name, &instance.properties)
    {
        report("instance", problem);
    }
    // Where there is none its own problem is reported already; the flavor's properties are checked all the same.
    let allocation = for_flavor(allocation.unwrap_or(&Allocation::Cattle { size: 1 }));
    for mut problem in registries
        .flavors
        .validate(&flavor.name, &flavor.properties, &allocation)
    {
        if problem.field == "flavor" {
            problem.field = "name".into();
        }
        report("flavor", problem);
    }
}

/// Who the group declares, in the flavors' words.
pub(crate) fn for_flavor(allocation: &Allocation) -> flavors::Allocation {
    match allocation {
        Allocation::Cattle { size } => flavors::Allocation::Cattle {
            size: *size as usize,
        },
        Allocation::Pets { members } => flavors::Allocation::Pets {
            members: members.keys().map(ToString::to_string).collect(),
        },
    }
}

// === labels, placement, healing ===

fn read_labels(fields: &mut Fields<'_, '_>) -> Labels {
    let Some(labels) = fields.text_map("labels", "{ tier = \"front\" }") else {
        return Labels::new();
    };
    if labels.value.len() > LABELS_MAX {
        let what = format!("{} labels are too many", labels.value.len());
        let remedy = format!("keep at most {LABELS_MAX}");
        fields.problem(labels.span.clone(), "labels", what, remedy);
    }
    for (key, value) in &labels.value {
        let name = format!("labels.{}", shorten(key));
        if key.is_empty() || key.len() > LABEL_KEY_BYTES_MAX {
            let remedy = format!("use a key of 1 to {LABEL_KEY_BYTES_MAX} bytes");
            fields.problem(
                labels.span.clone(),
                &name,
                "a label needs a short key",
                remedy,
            );
        }
        if value.len() > LABEL_VALUE_BYTES_MAX {
            let remedy = format!("use a value of at most {LABEL_VALUE_BYTES_MAX} bytes");
            fields.problem(
                labels.span.clone(),
                &name,
                "the label's value is too long",
                remedy,
            );
        }
    }
    labels.value
}

fn read_placement(fields: &mut Fields<'_, '_>) -> Placement {
    let Some(zones) = fields.texts("zones", "[\"a\", \"b\"]") else {
        return Placement::default();
    };
    if zones.value.is_empty() {
        let remedy = "name the zones, or remove the key and let the provisioner choose";
        fields.problem(
            zones.span.clone(),
            "zones",
            "no machine fits into no zone",
            remedy,
        );
    } else if zones.value.len() > ZONES_MAX {
        let remedy = format!("name at most {ZONES_MAX}");
        fields.problem(
            zones.span.clone(),
            "zones",
            "these are too many zones",
            remedy,
        );
    }
    let mut seen = BTreeSet::new();
    for (index, zone) in zones.value.iter().enumerate() {
        let name = format!("zones[{index}]");
        if zone.value.is_empty() || zone.value.len() > WORD_BYTES_MAX {
            let remedy = format!("write 1 to {WORD_BYTES_MAX} bytes");
            fields.problem(
                zone.span.clone(),
                &name,
                "this is no name of a zone",
                remedy,
            );
        } else if !seen.insert(zone.value.to_owned()) {
            let what = format!("zone `{}` is named twice", shorten(zone.value));
            fields.problem(zone.span.clone(), &name, what, "name each zone once");
        }
    }
    Placement { zones: seen }
}

fn read_heal(fields: &mut Fields<'_, '_>, defaults: &HealPolicy) -> HealPolicy {
    let modes = [
        ("auto", HealMode::Auto),
        ("approve", HealMode::Approve),
        ("observe", HealMode::Observe),
    ];
    let mode = fields
        .choice("mode", &modes)
        .map_or(defaults.mode, |mode| mode.value);
    let mut duration = |name, least_ms, why: &str, default| {
        let Some(read) = fields.duration_ms(name, "\"60s\"") else {
            return default;
        };
        let least = humantime::format_duration(std::time::Duration::from_millis(least_ms));
        if read.value < least_ms {
            let what = format!("shorter than {least}, {why}");
            fields.problem(
                read.span,
                name,
                what,
                format!("write {name} = \"{least}\" or more"),
            );
        } else if read.value > DURATION_MS_MAX {
            let remedy = format!("did you mean another unit? write for example {name} = \"10m\"");
            fields.problem(read.span, name, "longer than 30 days", remedy);
        }
        read.value
    };
    let boot = "no machine could join in time and each would be replaced for ever";
    let silence = "within which a machine that only lost packets may answer again";
    let boot_grace_ms = duration("boot_grace", VERDICT_MS, boot, defaults.boot_grace_ms);
    let change_grace_ms = duration("change_grace", 0, "", defaults.change_grace_ms);
    let unreachable_after_ms = duration(
        "unreachable_after",
        SILENCE_MS,
        silence,
        defaults.unreachable_after_ms,
    );
    let one_call = "within which one call to a provisioner is answered";
    let reimage_within_ms = duration(
        "reimage_within",
        MINUTE_MS,
        one_call,
        defaults.reimage_within_ms,
    );
    let firsts = [
        ("power-cycle", Unreachable::PowerCycle),
        ("replace", Unreachable::Replace),
    ];
    let unreachable = fields.choice("unreachable", &firsts);
    let budget = fields.object("budget", |budget| read_budget(budget, mode));
    let lease = read_lease(fields);
    HealPolicy {
        mode,
        boot_grace_ms,
        change_grace_ms,
        unreachable_after_ms,
        unreachable: unreachable
            .map(|first| first.value)
            .or(defaults.unreachable),
        reimage_within_ms,
        budget: budget.unwrap_or(defaults.budget),
        lease,
    }
}

/// `lease = "10s"` and `stop_within = "5s"`; none without the first.
fn read_lease(fields: &mut Fields<'_, '_>) -> Option<LeaseTerms> {
    let lease = fields.duration_ms("lease", "\"10s\"");
    let stop = fields.duration_ms("stop_within", "\"5s\"");
    let Some(lease) = lease else {
        if let Some(stop) = stop {
            let what = "nothing is stopped in time without a lease";
            fields.problem(stop.span, "stop_within", what, "write lease = \"10s\" too");
        }
        return None;
    };
    if !(LEASE_MS_MIN..=LEASE_MS_MAX).contains(&lease.value) {
        let what = "not between 5s, in which a leader can be elected, and 10m";
        fields.problem(lease.span, "lease", what, "write lease = \"10s\"");
        return None;
    }
    let lease_ms = lease.value;
    let Some(stop) = stop else {
        let stop_ms = LeaseTerms::stop_ms_default(lease_ms);
        return Some(LeaseTerms { lease_ms, stop_ms });
    };
    let stop_ms = stop.value;
    if stop_ms < STOP_MS_MIN {
        let what = "shorter than 1s, in which nothing stops by itself: all would be killed";
        fields.problem(stop.span, "stop_within", what, "write stop_within = \"3s\"");
        return None;
    }
    let terms = LeaseTerms { lease_ms, stop_ms };
    if terms.run_ms() < RUN_MS_MIN {
        let what = "leaves less than 3s of the lease, in which it has to be renewed before stopping begins";
        let remedy = "write a shorter stop_within, or a longer lease";
        fields.problem(stop.span, "stop_within", what, remedy);
        return None;
    }
    Some(terms)
}

fn read_budget(fields: &mut Fields<'_, '_>, mode: HealMode) -> BudgetPolicy {
    let mut count = |name| {
        let read = fields.integer(name, "1")?;
        if read.value == 0 && mode != HealMode::Observe {
            let what = format!("with 0 and mode `{mode}` nothing would ever be healed");
            let remedy = format!("write {name} = 1 or more, or mode = \"observe\"");
            fields.problem(read.span, name, what, remedy);
        }
        Some(read.value)
    };
    BudgetPolicy {
        at_once: count("at_once"),
        per_hour: count("per_hour"),
    }
}

/// The fleet's log takes specs up to a limit; what is too large is mostly a script.
fn check_size(fields: &mut Fields<'_, '_>, span: &Span, spec: &GroupSpec) {
    let size = postcard::to_stdvec(spec).map_or(usize::MAX, |bytes| bytes.len());
    if size > SPEC_BYTES_MAX {
        let what = format!("the whole spec takes {size} bytes, and {SPEC_BYTES_MAX} are the limit");
        let remedy = "put scripts and data into the image, or behind an address";
        fields.problem(span.clone(), "", what, remedy);
    }
}
