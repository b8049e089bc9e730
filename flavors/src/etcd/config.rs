//! What a group may say about the flavor `etcd`.

use std::time::Duration;

use muster_provisioners::http::HttpConfig;
use muster_provisioners::{Fields, Problem, Properties};

use super::api::{Client, Member};
use crate::hosts::{Hosts, bracketed, port};
use crate::{Allocation, FlavorError, HealthPlan, read};

const CLIENT_PORT: u16 = 2379;
const PEER_PORT: u16 = 2380;
const DATA_DIR: &str = "etcd";
const PROGRAM: &str = "etcd";
/// Arguments that this flavor gives itself.
const OWN_ARGUMENTS: [&str; 10] = [
    "--name",
    "--data-dir",
    "--listen-client-urls",
    "--listen-peer-urls",
    "--advertise-client-urls",
    "--initial-advertise-peer-urls",
    "--initial-cluster",
    "--initial-cluster-token",
    "--initial-cluster-state",
    "--discovery",
];

/// The properties of the flavor, checked.
#[derive(Debug)]
pub(super) struct Config {
    pub(super) hosts: Hosts,
    pub(super) client_port: u16,
    pub(super) peer_port: u16,
    pub(super) data_dir: String,
    pub(super) program: String,
    pub(super) arguments: Vec<String>,
    pub(super) plan: HealthPlan,
}

impl Config {
    pub(super) fn read(
        properties: &Properties,
        allocation: &Allocation,
    ) -> Result<Self, Vec<Problem>> {
        let mut fields = Fields::new(properties);
        let config = Self {
            hosts: Hosts::read(&mut fields, allocation),
            client_port: port(&mut fields, "client_port", CLIENT_PORT),
            peer_port: port(&mut fields, "peer_port", PEER_PORT),
            data_dir: read::path(&mut fields, "data_dir", DATA_DIR),
            program: read::path(&mut fields, "program", PROGRAM),
            arguments: fields.strings("arguments").unwrap_or_default(),
            plan: read::server_plan(&mut fields),
        };
        if config.client_port == config.peer_port {
            let reason = format!("both ports are {}", config.peer_port);
            fields.problem("peer_port", reason, "write another one");
        }
        for (index, argument) in config.arguments.iter().enumerate() {
            let name = argument.split('=').next().unwrap_or_default();
            if OWN_ARGUMENTS.contains(&name) {
                let reason = format!("`{name}` follows from the members");
                fields.problem(&format!("arguments[{index}]"), reason, "remove it");
            }
        }
        let problems = fields.finish();
        if problems.is_empty() {
            Ok(config)
        } else {
            Err(problems)
        }
    }

    /// Where a member is asked by clients.
    pub(super) fn client_url(&self, host: &str) -> String {
        format!("http://{}:{}", bracketed(host), self.client_port)
    }

    /// Where a member is asked by the others.
    pub(super) fn peer_url(&self, host: &str) -> String {
        format!("http://{}:{}", bracketed(host), self.peer_port)
    }

    /// The client of a member's server.
    ///
    /// # Errors
    /// If its address is of no use.
    pub(super) fn client(&self, member: &str) -> Result<Client, FlavorError> {
        let url = self.client_url(&self.hosts.of(member));
        Client::new(&HttpConfig::new(url), member)
    }

    /// Which of the declared members one of the ensemble's list is: by where it is, since it has no name before it began.
    pub(super) fn member_at(&self, listed: &Member) -> Option<&str> {
        let found = self.hosts.iter().find(|(member, host)| {
            let url = self.peer_url(host);
            listed.name == *member || listed.peer_urls.contains(&url)
        });
        found.map(|(member, _)| member)
    }

    /// Whether one of the ensemble's list is a member, which the group may declare no more: by its name, or by where it is
    /// while it has none.
    pub(super) fn is_listed_as(&self, listed: &Member, member: &str) -> bool {
        if !listed.name.is_empty() {
            return listed.name == member;
        }
        let is_there = listed
            .peer_urls
            .contains(&self.peer_url(&self.hosts.of(member)));
        is_there && self.member_at(listed).is_none_or(|found| found == member)
    }

    /// How long one of the others may take to answer.
    pub(super) fn patience(&self) -> Duration {
        self.plan.timeout
    }
}
