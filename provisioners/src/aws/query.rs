//! One request of the query API: an action and its parameters.

use super::xml::Node;
use crate::InstanceId;

/// The version of the API, which has been the same since 2016.
const VERSION: &str = "2016-11-15";

/// All actions that are asked for. `docs/examples/aws-policy.json` allows these and no others.
pub const ACTIONS: [&str; 17] = [
    "AssociateAddress",
    "AttachNetworkInterface",
    "AttachVolume",
    "DescribeAddresses",
    "DescribeInstanceStatus",
    "DescribeInstances",
    "DescribeNetworkInterfaces",
    "DescribeSubnets",
    "DescribeVolumes",
    "DetachNetworkInterface",
    "DetachVolume",
    "DisassociateAddress",
    "RebootInstances",
    "RunInstances",
    "StartInstances",
    "StopInstances",
    "TerminateInstances",
];

/// One request.
#[derive(Debug, Clone)]
pub(super) struct Query {
    /// What is being done, for errors.
    pub(super) what: String,
    /// Whether it changes nothing.
    pub(super) reads: bool,
    action: &'static str,
    parameters: Vec<(String, String)>,
    filters: usize,
}

impl Query {
    /// A request that changes nothing.
    pub(super) fn look(action: &'static str, what: impl Into<String>) -> Self {
        Self {
            reads: true,
            ..Self::change(action, what)
        }
    }

    /// A request that changes something.
    pub(super) fn change(action: &'static str, what: impl Into<String>) -> Self {
        debug_assert!(ACTIONS.contains(&action), "{action} is not on the list");
        Self {
            what: what.into(),
            reads: false,
            action,
            parameters: vec![
                ("Action".to_owned(), action.to_owned()),
                ("Version".to_owned(), VERSION.to_owned()),
            ],
            filters: 0,
        }
    }

    /// Sets a parameter.
    #[must_use]
    pub(super) fn with(mut self, name: impl Into<String>, value: impl ToString) -> Self {
        self.parameters.push((name.into(), value.to_string()));
        self
    }

    /// Sets a parameter if there is a value for it.
    #[must_use]
    pub(super) fn maybe(self, name: &str, value: Option<impl ToString>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// Sets a list: `name.1`, `name.2` and so on.
    #[must_use]
    pub(super) fn list<T: ToString>(self, name: &str, values: impl IntoIterator<Item = T>) -> Self {
        values
            .into_iter()
            .enumerate()
            .fold(self, |this, (index, value)| {
                this.with(format!("{name}.{}", index + 1), value)
            })
    }

    /// Names the one instance that it is about, by the first of a list.
    #[must_use]
    pub(super) fn instance(self, id: &InstanceId) -> Self {
        self.with("InstanceId.1", id)
    }

    /// Asks only for what has one of these values. In a filter `*` and `?` stand for others, so they are escaped.
    #[must_use]
    pub(super) fn filter(mut self, name: &str, values: &[&str]) -> Self {
        self.filters += 1;
        let number = self.filters;
        let escape = |value: &&str| {
            value
                .replace('\\', "\\\\")
                .replace('*', "\\*")
                .replace('?', "\\?")
        };
        let this = self.with(format!("Filter.{number}.Name"), name);
        this.list(&format!("Filter.{number}.Value"), values.iter().map(escape))
    }

    /// Reads an answer of success: it has the action's name, and the list that was asked for, be it empty. What answers in
    /// EC2's place, such as a portal's page, must not look as if there were nothing.
    pub(super) fn understand(&self, document: &[u8]) -> Result<Node, String> {
        let answer = Node::parse(document)?;
        if !answer.is_named(&format!("{}Response", self.action)) {
            return Err(format!("it is no answer to {}", self.action));
        }
        match list_of(self.action) {
            Some(list) if answer.at(list).is_none() => Err(format!("it has no {list}")),
            _ => Ok(answer),
        }
    }

    /// The account that an answer tells of: it shows those that the asker has instances in, which is its own.
    pub(super) fn account(&self, answer: &Node) -> Option<String> {
        match self.action {
            "DescribeInstances" => answer.items("reservationSet").find_map(owner),
            "RunInstances" => owner(answer),
            _ => None,
        }
    }

    /// The body of the request.
    pub(super) fn body(&self) -> String {
        let mut url = reqwest::Url::parse("http://localhost/").expect("valid");
        url.query_pairs_mut().extend_pairs(&self.parameters);
        url.query().unwrap_or_default().to_owned()
    }
}

/// The list that answers to an action always have.
fn list_of(action: &str) -> Option<&'static str> {
    Some(match action {
        "DescribeAddresses" => "addressesSet",
        "DescribeInstances" => "reservationSet",
        "DescribeInstanceStatus" => "instanceStatusSet",
        "DescribeNetworkInterfaces" => "networkInterfaceSet",
        "DescribeSubnets" => "subnetSet",
        "DescribeVolumes" => "volumeSet",
        _ => return None,
    })
}

/// The account of a reservation.
pub(super) fn owner(reservation: &Node) -> Option<String> {
    reservation.text("ownerId").map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_answer_to_the_question_is_understood() {
        let query = Query::look("DescribeInstances", "looking");
        for other in [
            "<html/>",
            "<Response/>",
            "<DescribeInstancesResponse/>",
            "<DescribeVolumesResponse><reservationSet/></DescribeVolumesResponse>",
        ] {
            assert!(query.understand(other.as_bytes()).is_err(), "{other}");
        }
        let empty = b"<DescribeInstancesResponse><reservationSet/></DescribeInstancesResponse>";
        let empty = query.understand(empty).expect("an empty list");
        assert_eq!(query.account(&empty), None);
        let one = b"<DescribeInstancesResponse><reservationSet><item><ownerId>1</ownerId></item></reservationSet>\
                    </DescribeInstancesResponse>";
        let one = query.understand(one).expect("a list");
        assert_eq!(query.account(&one).as_deref(), Some("1"));
        let run = Query::change("RunInstances", "making");
        let made =
            run.understand(b"<RunInstancesResponse><ownerId>1</ownerId></RunInstancesResponse>");
        assert_eq!(run.account(&made.expect("made")).as_deref(), Some("1"));
    }

    #[test]
    fn parameters_are_numbered_and_encoded() {
        let query = Query::look("DescribeInstances", "looking")
            .filter("tag:muster.group", &["a*b", "c&d"])
            .list("InstanceId", ["i-1", "i-2"])
            .maybe("NextToken", None::<String>);
        assert_eq!(
            query.body(),
            "Action=DescribeInstances&Version=2016-11-15&Filter.1.Name=tag%3Amuster.group&Filter.1.Value.1=a%5C*b\
             &Filter.1.Value.2=c%26d&InstanceId.1=i-1&InstanceId.2=i-2"
        );
    }
}
