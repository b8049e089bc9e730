//! What a group may say about the flavor `zookeeper`, and what follows from it for each member.

use std::collections::{BTreeMap, BTreeSet};

use muster_provisioners::http::{HttpConfig, Request};
use muster_provisioners::{Deadline, Fields, Problem, Properties};
use serde_json::Value;

use super::jute::Client;
use super::members::Members;
use super::words;
use crate::hosts::{Hosts, bracketed, port};
use crate::{Allocation, FlavorError, HealthPlan, Role, read};

const CLIENT_PORT: u16 = 2181;
const QUORUM_PORT: u16 = 2888;
const ELECTION_PORT: u16 = 3888;
const DATA_DIR: &str = "zookeeper";
const COMMAND: [&str; 2] = ["zkServer.sh", "start-foreground"];
/// What `zoo.cfg` says where a group does not.
const SETTINGS: [(&str, &str); 3] = [
    ("tickTime", "2000"),
    ("initLimit", "10"),
    ("syncLimit", "5"),
];
/// What this flavor says there itself.
const OWN_SETTINGS: [&str; 11] = [
    "dataDir",
    "clientPort",
    "clientPortAddress",
    "dynamicConfigFile",
    "standaloneEnabled",
    "reconfigEnabled",
    "skipACL",
    "4lw.commands.whitelist",
    "admin.enableServer",
    "admin.serverPort",
    "admin.serverAddress",
];

/// The properties of the flavor, checked.
#[derive(Debug)]
pub(super) struct Config {
    pub(super) hosts: Hosts,
    ids: BTreeMap<String, u64>,
    pub(super) client_port: u16,
    quorum_port: u16,
    election_port: u16,
    admin_port: Option<u16>,
    pub(super) data_dir: String,
    pub(super) command: Vec<String>,
    settings: BTreeMap<String, String>,
    password_file: Option<String>,
    pub(super) plan: HealthPlan,
}

/// The number at the end of a member's name.
pub(super) fn number_of(member: &str) -> Option<u8> {
    let digits = member.trim_start_matches(|letter: char| !letter.is_ascii_digit());
    let last = digits
        .rsplit(|letter: char| !letter.is_ascii_digit())
        .next()?;
    last.parse().ok().filter(|number| *number > 0)
}

impl Config {
    pub(super) fn read(
        properties: &Properties,
        allocation: &Allocation,
    ) -> Result<Self, Vec<Problem>> {
        let mut fields = Fields::new(properties);
        let hosts = Hosts::read(&mut fields, allocation);
        let ids = read_ids(&mut fields, &hosts);
        let admin_port = fields.written("admin_port").is_some();
        let admin = port(&mut fields, "admin_port", 0);
        let config = Self {
            hosts,
            ids,
            client_port: port(&mut fields, "client_port", CLIENT_PORT),
            quorum_port: port(&mut fields, "quorum_port", QUORUM_PORT),
            election_port: port(&mut fields, "election_port", ELECTION_PORT),
            admin_port: admin_port.then_some(admin),
            data_dir: read::path(&mut fields, "data_dir", DATA_DIR),
            command: read_command(&mut fields),
            settings: read_settings(&mut fields),
            password_file: fields.string("password_file"),
            plan: read::server_plan(&mut fields),
        };
        let ports = [config.client_port, config.quorum_port, config.election_port];
        let ports: BTreeSet<_> = ports.into_iter().chain(config.admin_port).collect();
        if ports.len() < 3 + usize::from(config.admin_port.is_some()) {
            fields.problem("client_port", "two ports are the same", "write another one");
        }
        let problems = fields.finish();
        if problems.is_empty() {
            Ok(config)
        } else {
            Err(problems)
        }
    }

    /// A member's number.
    ///
    /// # Errors
    /// If it has none, which can be only where the group declares it no more.
    pub(super) fn id(&self, member: &str) -> Result<u8, FlavorError> {
        let id = match self.ids.get(member) {
            Some(id) => u8::try_from(*id).ok().filter(|id| *id > 0),
            None => number_of(member),
        };
        let why = || format!("{member} has no number at the end of its name, nor in `ids`");
        id.ok_or_else(|| FlavorError::failed("asking ZooKeeper", why()))
    }

    /// A member's host.
    pub(super) fn host(&self, member: &str) -> String {
        self.hosts.of(member)
    }

    /// The number under which a list has a member, who is known by its host; `None` where it is not there.
    ///
    /// # Errors
    /// If its number is there and its host is not, so that nobody knows whose it is.
    pub(super) fn listed(&self, member: &str, list: &Members) -> Result<Option<u8>, FlavorError> {
        let is_anothers = |id: u8| {
            let mut others = self.hosts.others(member);
            others.any(|(other, _)| self.id(other) == Ok(id))
        };
        if let Some(id) = list.at(&self.host(member)).filter(|id| !is_anothers(*id)) {
            return Ok(Some(id));
        }
        let id = self.id(member)?;
        if !list.has(id) || is_anothers(id) {
            return Ok(None);
        }
        let why = format!("the number of {member}, {id}, is listed at another host than its own");
        Err(FlavorError::failed("finding it on ZooKeeper's list", why))
    }

    /// A member as ZooKeeper's list of servers says it, with a vote.
    pub(super) fn line(&self, member: &str) -> Result<String, FlavorError> {
        self.line_as(member, "participant")
    }

    /// A member in that list, as `participant` or `observer`.
    pub(super) fn line_as(&self, member: &str, kind: &str) -> Result<String, FlavorError> {
        let (id, host) = (self.id(member)?, bracketed(&self.host(member)));
        let (quorum, election, client) = (self.quorum_port, self.election_port, self.client_port);
        Ok(format!(
            "server.{id}={host}:{quorum}:{election}:{kind};{host}:{client}"
        ))
    }

    /// The text of `zoo.cfg`, for data in one directory and the list of servers in one file.
    pub(super) fn text(
        &self,
        member: &str,
        data: &std::path::Path,
        list: &std::path::Path,
    ) -> String {
        let mut lines = self.settings.clone();
        let mut set = |name: &str, value: String| lines.insert(name.to_owned(), value);
        set("dataDir", data.display().to_string());
        set("dynamicConfigFile", list.display().to_string());
        set("standaloneEnabled", "false".to_owned());
        set("reconfigEnabled", "true".to_owned());
        set("4lw.commands.whitelist", "srvr,mntr,conf".to_owned());
        if self.password_file.is_none() {
            set("skipACL", "yes".to_owned());
        }
        set("admin.enableServer", self.admin_port.is_some().to_string());
        if let Some(port) = self.admin_port {
            set("admin.serverPort", port.to_string());
            set("admin.serverAddress", self.host(member));
        }
        let lines: Vec<_> = lines
            .iter()
            .map(|(name, value)| format!("{name}={value}\n"))
            .collect();
        lines.concat()
    }

    /// Whom a member's clients ask, and with which password changes are asked for.
    pub(super) fn client(&self, member: &str) -> Result<Client, FlavorError> {
        let host = self.host(member);
        let password = self.password_file.as_ref().map(|path| {
            let read = std::fs::read_to_string(path);
            read.map_err(|error| FlavorError::failed(format!("reading {path}"), error.to_string()))
        });
        Ok(Client {
            host,
            port: self.client_port,
            password: password.transpose()?.map(|text| text.trim().to_owned()),
        })
    }

    /// The part that a member's server plays.
    pub(super) async fn role(&self, member: &str, deadline: Deadline) -> Result<Role, FlavorError> {
        let host = self.host(member);
        let Some(port) = self.admin_port else {
            let answer = words::ask((&host, self.client_port), "srvr", deadline).await?;
            return words::role(&answer);
        };
        let what = format!("asking the admin server of ZooKeeper on {member}");
        let failed = |error: muster_provisioners::ProvisionError| {
            FlavorError::failed(&what, error.to_string())
        };
        let base = format!("http://{}:{port}", bracketed(&host));
        let http = HttpConfig::new(base).build().map_err(failed)?;
        let request = Request::get(what.clone(), "/commands/stats");
        let answer = http.send(&request, deadline).await.map_err(failed)?;
        let answer = answer.json().map_err(failed)?;
        words::monitored_role(&answer)
    }

    /// The list of servers that a member's server goes by.
    pub(super) async fn members(
        &self,
        member: &str,
        deadline: Deadline,
    ) -> Result<Members, FlavorError> {
        let host = self.host(member);
        let answer = words::ask((&host, self.client_port), "conf", deadline).await?;
        Ok(Members::read(&answer))
    }
}

fn read_ids(fields: &mut Fields<'_>, hosts: &Hosts) -> BTreeMap<String, u64> {
    let given = fields.value("ids").map(|given| match given {
        Value::Object(map) => map
            .iter()
            .map(|(member, id)| (member.clone(), id.as_u64().unwrap_or(0)))
            .collect(),
        _ => {
            fields.problem(
                "ids",
                "it is no list of numbers by member",
                "write ids = { … }",
            );
            BTreeMap::new()
        }
    });
    let given: BTreeMap<String, u64> = given.unwrap_or_default();
    let mut taken = BTreeMap::new();
    for (member, _) in hosts.iter() {
        let remedy = format!("write ids = {{ {member} = 1, … }} with a number from 1 to 255");
        let id = match given.get(member) {
            Some(id) => u8::try_from(*id).ok().filter(|id| *id > 0),
            None => number_of(member),
        };
        match id.map(|id| (id, taken.insert(id, member))) {
            Some((_, None)) => {}
            Some((id, Some(other))) => {
                fields.problem(
                    "ids",
                    format!("{other} and {member} both have {id}"),
                    remedy,
                );
            }
            None => {
                let reason = format!(
                    "{member} has no number from 1 to 255, there or at the end of its name"
                );
                fields.problem("ids", reason, remedy);
            }
        }
    }
    given
}

fn read_command(fields: &mut Fields<'_>) -> Vec<String> {
    let words = fields.strings("command");
    let words = words.unwrap_or_else(|| COMMAND.map(str::to_owned).to_vec());
    let wrong =
        words.first().is_none_or(String::is_empty) || words.iter().any(|word| word.contains('\0'));
    if wrong {
        let remedy = "write a list of program and arguments, or leave it out";
        fields.problem("command", "it names no program", remedy);
    }
    words
}

fn read_settings(fields: &mut Fields<'_>) -> BTreeMap<String, String> {
    let mut settings: BTreeMap<_, _> = SETTINGS
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    for (name, value) in fields.string_map("settings").unwrap_or_default() {
        let field = format!("settings.{name}");
        if OWN_SETTINGS.contains(&name.as_str()) || name.starts_with("server.") {
            fields.problem(&field, "it follows from the other properties", "remove it");
        } else if [&name, &value]
            .into_iter()
            .any(|text| text.contains(['\n', '\r', '\0']))
            || name.is_empty()
            || name.contains('=')
        {
            fields.problem(&field, "it is no line of zoo.cfg", "write NAME = \"VALUE\"");
        } else {
            settings.insert(name, value);
        }
    }
    settings
}
