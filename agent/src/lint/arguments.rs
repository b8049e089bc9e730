//! Arguments that no agent knows: machines that are local processes are started with them, and end at once.

use super::Case;
use super::Severity::Warning;
use crate::cli::unknown_to_agents;

pub(super) fn look(case: &mut Case<'_>) {
    for (at, spec) in case.specs.iter().enumerate() {
        if spec.instance.provisioner != muster_provisioners::process::NAME {
            continue;
        }
        let properties = spec.instance.properties.to_value();
        let written = properties.get("args").and_then(|args| args.as_array());
        let args = written.into_iter().flatten().filter_map(|arg| arg.as_str());
        if let Some(unknown) = unknown_to_agents(args) {
            let what = format!(
                "`muster agent` knows no `{unknown}`, so none of its machines would ever join"
            );
            let place = (at, "instance.properties.args");
            let remedy = "`muster agent --help` shows what there is";
            case.find(Warning, "unknown-argument", place, what, remedy);
        }
    }
}
