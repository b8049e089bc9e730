//! `infrakit` against plugins that are not ours: stand-ins in another language, one for each generation of the protocol.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use muster_provisioners::conformance::{Counterpart, Harness, Trouble};
use muster_provisioners::infrakit::{InfrakitConfig, InfrakitProvisioner, marks};
use muster_provisioners::{
    Attachment, Deadline, InstanceId, MachineSpec, OperationId, Properties, ProvisionError,
    Provisioner, Tags, tag,
};

/// The plugins, and a directory for all that they remember.
struct Plugins(Counterpart);

impl Plugins {
    fn start() -> Self {
        Self(Counterpart::start("infrakit", &[]).expect("Python is all that it takes"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.directory().join(name)
    }

    fn trouble(&self, what: &str) {
        std::fs::write(self.path("trouble"), what).expect("written");
    }

    /// How often a method was called.
    fn calls(&self, method: &str) -> usize {
        // There is none before the first call.
        let calls = std::fs::read_to_string(self.path("calls")).unwrap_or_default();
        calls.lines().filter(|line| line.ends_with(method)).count()
    }

    fn provisioner(&self, settings: &str) -> Arc<dyn Provisioner> {
        let mut settings: Properties = settings.parse().expect("valid JSON");
        settings.set("directory", self.path("plugins").display().to_string());
        let config = InfrakitConfig::read(&settings).expect("valid");
        Arc::new(InfrakitProvisioner::new(config).expect("built"))
    }
}

struct Rig {
    plugins: Plugins,
    name: &'static str,
}

impl Rig {
    fn of(name: &'static str) -> Self {
        let plugins = Plugins::start();
        Self { plugins, name }
    }

    fn client(&self) -> Arc<dyn Provisioner> {
        let name = self.name;
        self.plugins.provisioner(&format!(
            r#"{{"plugins": ["{name}"], "list_lag": "100ms", "settle": "50ms"}}"#
        ))
    }
}

#[async_trait]
impl Harness for Rig {
    fn provisioner(&self) -> Arc<dyn Provisioner> {
        self.client()
    }

    async fn another(&self) -> Arc<dyn Provisioner> {
        self.client()
    }

    fn properties(&self) -> Properties {
        let text = format!(
            r#"{{"plugin": "{}", "properties": {{"size": "m1"}}}}"#,
            self.name
        );
        text.parse().expect("valid")
    }

    fn bad_properties(&self) -> Vec<(Properties, &'static str)> {
        let name = self.name;
        vec![
            ("{}".parse().expect("valid"), "plugin"),
            (
                format!(r#"{{"plugin": "{name}", "colour": 1}}"#)
                    .parse()
                    .expect("valid"),
                "colour",
            ),
        ]
    }

    fn missing(&self) -> InstanceId {
        format!("{}:nothing-0001", self.name)
            .parse()
            .expect("valid")
    }

    async fn inject(&self, trouble: Trouble) -> bool {
        match trouble {
            Trouble::LostAnswers => self.plugins.trouble("lose"),
            Trouble::Hanging => self.plugins.trouble("hang"),
            Trouble::Throttling => self.plugins.trouble("throttle"),
            Trouble::BadCredentials => self.plugins.trouble("deny"),
            Trouble::Down => {
                std::fs::rename(self.plugins.path("plugins"), self.plugins.path("away"))
                    .expect("renamed");
            }
        }
        true
    }

    async fn mend(&self) {
        let _ = std::fs::remove_file(self.plugins.path("trouble"));
        let _ = std::fs::rename(self.plugins.path("away"), self.plugins.path("plugins"));
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(20)
    }
}

/// The last generation, with an object that has a type.
mod typed {
    use super::*;
    muster_provisioners::conformance_suite!(Rig::of("simulator/compute"));
}

/// The oldest that is known.
mod of_2016 {
    use super::*;
    muster_provisioners::conformance_suite!(shared: Some(Rig::of("ancient")));
}

/// Over TCP.
mod far {
    use super::*;
    muster_provisioners::conformance_suite!(shared: Some(Rig::of("far")));
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(20))
}

fn op(member: &str) -> OperationId {
    OperationId::derive("c", "g", member, 1, "provision")
}

fn spec(plugin: &str, properties: &str) -> MachineSpec {
    let text = format!(r#"{{"plugin": "{plugin}", "properties": {properties}}}"#);
    let mut spec = MachineSpec::new("a", text.parse().expect("valid"));
    spec.tags = Tags::new().with(tag::CLUSTER, "c").with(tag::MEMBER, "a");
    spec.boot.group = "g".to_owned();
    spec
}

#[tokio::test]
async fn every_generation_is_spoken_to() {
    let plugins = Plugins::start();
    let names = ["file", "five", "three", "ancient", "simulator/disk", "far"];
    let client = plugins.provisioner(
        r#"{"plugins": ["file", "five", "three", "ancient", "simulator/disk", "far"], "settle": "10ms"}"#,
    );
    assert_eq!(client.check(soon()).await, Ok(()));
    for name in names {
        let made = client
            .provision(&spec(name, "{}"), &op(name), soon())
            .await
            .expect("made");
        assert!(made.as_str().starts_with(&format!("{name}:")), "{made}");
    }
    let ours = Tags::new().with(tag::CLUSTER, "c");
    let listed = client.describe(&ours, soon()).await.expect("listed");
    assert_eq!(listed.len(), names.len(), "of all plugins at once");
    for one in &listed {
        client
            .destroy(&one.id, &op("destroy"), soon())
            .await
            .expect("destroyed");
    }
    assert_eq!(client.describe(&ours, soon()).await, Ok(Vec::new()));
}

#[tokio::test]
async fn one_plugin_that_can_t_be_asked_spoils_the_list() {
    let plugins = Plugins::start();
    let client = plugins.provisioner(r#"{"plugins": ["file", "none"]}"#);
    let error = client
        .describe(&Tags::new(), soon())
        .await
        .expect_err("no such plugin");
    assert!(
        error.is_retryable() && error.to_string().contains("none"),
        "{error}"
    );
    let other = spec("five", "{}");
    let error = client
        .provision(&other, &op("a"), soon())
        .await
        .expect_err("not configured");
    assert!(error.to_string().contains("`plugins`"), "{error}");
    assert_eq!(plugins.calls("Provision"), 0);
}

#[tokio::test]
async fn what_a_plugin_says_is_handed_on() {
    let plugins = Plugins::start();
    let client = plugins.provisioner(r#"{"plugins": ["file", "simulator", "vanilla"]}"#);
    let refused = client
        .provision(&spec("file", r#"{"refuse": true}"#), &op("a"), soon())
        .await;
    assert!(
        matches!(&refused, Err(ProvisionError::Invalid(_))),
        "{refused:?}"
    );
    assert_eq!(plugins.calls("Provision"), 0, "nothing was ordered");
    let untyped = client
        .provision(&spec("simulator", "{}"), &op("a"), soon())
        .await;
    let error = untyped.expect_err("which object?").to_string();
    assert!(
        error.contains("simulator/compute, simulator/disk"),
        "{error}"
    );
    let flavor = client
        .provision(&spec("vanilla", "{}"), &op("a"), soon())
        .await;
    let error = flavor.expect_err("no instance plugin").to_string();
    assert!(error.contains("Flavor/0.1.1"), "{error}");
}

#[tokio::test]
async fn what_was_made_before_the_plugin_failed_is_found() {
    let plugins = Plugins::start();
    let client = plugins.provisioner(r#"{"plugins": ["file"]}"#);
    let late = spec("file", r#"{"fail_late": true}"#);
    let made = client
        .provision(&late, &op("a"), soon())
        .await
        .expect("found");
    let listed = client.describe(&Tags::new(), soon()).await.expect("listed");
    assert_eq!((listed.len(), &listed[0].id), (1, &made));
}

/// What a plugin made before it failed may be listed late: that nothing was done is not said.
#[tokio::test]
async fn a_lagging_list_after_a_failure_makes_no_second_instance() {
    let plugins = Plugins::start();
    let client = plugins.provisioner(r#"{"plugins": ["file"], "list_lag": "1s"}"#);
    let late = spec("file", r#"{"fail_late": true}"#);
    plugins.trouble("lag");
    let failed = client.provision(&late, &op("a"), soon()).await;
    let error = failed.expect_err("not listed yet");
    assert!(error.is_outcome_unknown(), "{error}");
    let found = client.provision(&late, &op("a"), soon()).await;
    found.expect("found");
    assert_eq!(plugins.calls("Instance.Provision"), 1);
}

/// What was ordered and not answered, by a plugin whose list lags, is waited for and not ordered again.
#[tokio::test]
async fn a_lagging_list_after_a_lost_answer_makes_no_second_instance() {
    let plugins = Plugins::start();
    let client = plugins.provisioner(r#"{"plugins": ["file"], "list_lag": "1s"}"#);
    plugins.trouble("lose");
    let lost = client
        .provision(&spec("file", "{}"), &op("a"), soon())
        .await;
    assert!(lost.expect_err("no answer").is_outcome_unknown());
    plugins.trouble("lag");
    let hasty = Deadline::after(Duration::from_millis(100));
    let error = client.provision(&spec("file", "{}"), &op("a"), hasty).await;
    assert!(error.expect_err("not yet").is_retryable());
    let found = client
        .provision(&spec("file", "{}"), &op("a"), soon())
        .await;
    found.expect("found");
    assert_eq!(plugins.calls("Instance.Provision"), 1);
}

#[tokio::test]
async fn an_instance_that_is_missing_is_off_only_after_a_while() {
    let plugins = Plugins::start();
    let client = plugins.provisioner(r#"{"plugins": ["file"], "settle": "400ms"}"#);
    let id = client
        .provision(&spec("file", "{}"), &op("a"), soon())
        .await
        .expect("made");
    client
        .destroy(&id, &op("destroy"), soon())
        .await
        .expect("destroyed");
    let proof = client.prove_off(&id, soon()).await.expect("answered");
    assert!(!proof.is_off(), "{proof:?}");
    let deadline = soon();
    while !client
        .prove_off(&id, soon())
        .await
        .expect("answered")
        .is_off()
    {
        assert!(deadline.sleep(Duration::from_millis(50)).await, "never off");
    }
}

/// InfraKit's tools find what muster makes, and the token that admits the machine is in nothing that can be looked at.
#[tokio::test]
async fn infrakits_own_tags_are_set_and_the_token_stays_hidden() {
    let plugins = Plugins::start();
    let client = plugins.provisioner(r#"{"plugins": ["file"]}"#);
    let mut pet = spec("file", "{}");
    pet.logical_id = Some("n-1".to_owned());
    pet.properties = r#"{"plugin": "file", "logical_ids": {"n-1": "N_1"}, "group": "My_Pets"}"#
        .parse()
        .expect("valid");
    pet.attachments = vec![Attachment::new("vol-1", "ebs")];
    pet.boot.join_token = muster_provisioners::Secret::new("muster1-hidden");
    client
        .provision(&pet, &op("a"), soon())
        .await
        .expect("made");
    let theirs = Tags::new()
        .with(marks::GROUP, "My_Pets")
        .with(marks::LOGICAL_ID, "N_1");
    let listed = client.describe(&theirs, soon()).await.expect("listed");
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].attachments, pet.attachments);
    assert!(!format!("{listed:?}").contains("hidden"));
}

#[tokio::test]
async fn attachments_that_cattle_share_are_held_by_nobody() {
    let plugins = Plugins::start();
    let client = plugins.provisioner(r#"{"plugins": ["file"]}"#);
    let mut one = spec("file", "{}");
    one.attachments = vec![Attachment::new("nfs", "share")];
    one.tags.insert(marks::ATTACHMENTS, marks::SHARED);
    for member in ["a", "b"] {
        client
            .provision(&one, &op(member), soon())
            .await
            .expect("made");
    }
}

/// An instance that InfraKit made is found among ours once it was adopted, and keeps what it had.
#[tokio::test]
async fn an_instance_of_infrakit_s_is_adopted() {
    let plugins = Plugins::start();
    let client = plugins.provisioner(r#"{"plugins": ["file"]}"#);
    let id = client
        .provision(&spec("file", "{}"), &op("a"), soon())
        .await
        .expect("made");
    let ours = Tags::new().with("muster.cluster", "other");
    for _ in 0..2 {
        client.adopt(&id, &ours, soon()).await.expect("adopted");
    }
    let listed = client.describe(&ours, soon()).await.expect("listed");
    assert_eq!(
        (listed.len(), listed[0].tags.get(tag::MEMBER)),
        (1, Some("a"))
    );
    let missing = "file:none".parse().expect("valid");
    let error = client.adopt(&missing, &ours, soon()).await;
    assert_eq!(error, Err(ProvisionError::NotFound(missing)));
}
