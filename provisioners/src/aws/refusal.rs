//! What EC2 says when it refuses, and what that means.

use super::xml::Node;
use crate::http::Response;
use crate::{Problem, ProvisionError};

/// A refusal in EC2's own words. Except for [`Refusal::is_unsure`], nothing was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// What was being done.
    pub(super) what: String,
    /// Its code, such as `InvalidInstanceID.NotFound`.
    pub(super) code: String,
    message: String,
    /// Whether the request only reads.
    reads: bool,
    /// The account that the credentials belong to, as far as it is known.
    account: Option<String>,
}

/// Why a request came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// EC2 refused it.
    Refused(Refusal),
    /// There is no answer of EC2.
    Broken(ProvisionError),
}

/// Codes of requests that come too fast.
const THROTTLED: [&str; 5] = [
    "RequestLimitExceeded",
    "Throttling",
    "ThrottlingException",
    "EC2ThrottledException",
    "RequestThrottled",
];

/// Codes of credentials and permissions that don't do.
const DENIED: [&str; 13] = [
    "AccessDenied",
    "AccessDeniedException",
    "AuthFailure",
    "Blocked",
    "ExpiredToken",
    "InvalidClientTokenId",
    "MissingAuthenticationToken",
    "OptInRequired",
    "PendingVerification",
    "RequestExpired",
    "SignatureDoesNotMatch",
    "UnauthorizedOperation",
    "UnrecognizedClientException",
];

/// Codes of a lack of room or quota.
const CAPACITY: [&str; 13] = [
    "InsufficientAddressCapacity",
    "InsufficientCapacity",
    "InsufficientFreeAddressesInSubnet",
    "InsufficientHostCapacity",
    "InsufficientInstanceCapacity",
    "InsufficientReservedInstanceCapacity",
    "InsufficientVolumeCapacity",
    "InstanceLimitExceeded",
    "MaxSpotInstanceCountExceeded",
    "PendingSnapshotLimitExceeded",
    "SpotMaxPriceTooLow",
    "VcpuLimitExceeded",
    "VolumeLimitExceeded",
];

/// Codes by which EC2 says that it does not know whether it did it.
const UNSURE: [&str; 4] = [
    "InternalError",
    "InternalFailure",
    "ServerInternal",
    "RequestTimeout",
];

/// Beginnings of codes for a property that is wrong, with the property.
const PROPERTIES: [(&str, &str); 10] = [
    ("InvalidAMIID", "image"),
    ("InvalidGroup", "security_groups"),
    ("InvalidSecurityGroupID", "security_groups"),
    ("InvalidIamInstanceProfile", "instance_profile"),
    ("InvalidInstanceType", "instance_type"),
    ("InvalidKeyPair", "key_name"),
    ("InvalidLaunchTemplate", "launch_template"),
    ("InvalidSubnet", "subnets"),
    ("InvalidParameterCombination", ""),
    ("InvalidParameterValue", ""),
];

impl Failure {
    /// What an answer other than success means.
    pub(super) fn of(answer: Response, reads: bool) -> Self {
        let said = Node::parse(&answer.body).ok();
        let error = said.as_ref().and_then(|said| {
            // AuthFailure and the like come as `ErrorResponse` from some of its doors.
            said.at("Errors/Error").or_else(|| said.at("Error"))
        });
        let code = error.and_then(|error| error.text("Code"));
        match (code, error) {
            (Some(code), Some(error)) => Self::Refused(Refusal {
                what: answer.what.clone(),
                code: code.chars().take(100).collect(),
                message: words(error.text("Message").unwrap_or_default()),
                reads,
                account: None,
            }),
            _ => Self::Broken(match answer.accepted() {
                Err(error) => error,
                Ok(answer) => answer.not_understood("it is no answer of EC2"),
            }),
        }
    }

    /// The code of a refusal; empty if it is none.
    pub(super) fn code(&self) -> &str {
        match self {
            Self::Refused(refusal) => &refusal.code,
            Self::Broken(_) => "",
        }
    }

    /// Whether there is no such thing.
    pub(super) fn is_not_found(&self) -> bool {
        self.code().ends_with(".NotFound") || self.code().ends_with(".Malformed")
    }

    /// The same, said to credentials of this account.
    pub(super) fn said_to(mut self, account: Option<String>) -> Self {
        if let Self::Refused(refusal) = &mut self {
            refusal.account = account;
        }
        self
    }

    /// The account that there is no such instance in: `Some(None)` if it isn't known which. That an ID is malformed says
    /// nothing of any instance.
    pub(super) fn has_no_instance(&self) -> Option<Option<String>> {
        match self {
            Self::Refused(refusal) if refusal.code == "InvalidInstanceID.NotFound" => {
                Some(refusal.account.clone())
            }
            _ => None,
        }
    }

    /// Whether other credentials may do: those of a role run out.
    pub(super) fn wants_other_credentials(&self) -> bool {
        DENIED.contains(&self.code()) && self.code() != "UnauthorizedOperation"
    }
}

impl Refusal {
    fn is_unsure(&self) -> bool {
        UNSURE.contains(&self.code.as_str())
    }

    fn said(&self) -> String {
        format!("{}: {} ({})", self.what, self.message, self.code)
    }
}

impl From<ProvisionError> for Failure {
    fn from(error: ProvisionError) -> Self {
        Self::Broken(error)
    }
}

impl From<Failure> for ProvisionError {
    fn from(failure: Failure) -> Self {
        let refusal = match failure {
            Failure::Broken(error) => return error,
            Failure::Refused(refusal) => refusal,
        };
        let code = refusal.code.as_str();
        if THROTTLED.contains(&code) {
            return Self::Throttled { retry_after: None };
        }
        if code == "RequestExpired" {
            let said = refusal.said();
            return Self::denied(format!("{said}: is the clock of this machine right?"));
        }
        if DENIED.contains(&code) {
            return Self::denied(refusal.said());
        }
        if CAPACITY.contains(&code) {
            return Self::capacity(refusal.said());
        }
        if refusal.is_unsure() && !refusal.reads {
            return Self::timeout(refusal.said());
        }
        if refusal.is_unsure() || matches!(code, "Unavailable" | "ServiceUnavailable") {
            return Self::unavailable(refusal.said());
        }
        if code == "UnsupportedOperation" {
            return Self::Unsupported(refusal.said());
        }
        let property = PROPERTIES.iter().find(|(begin, _)| code.starts_with(begin));
        match property {
            Some((_, property)) => Self::Invalid(vec![Problem::new(
                *property,
                refusal.said(),
                "look at what the group asks for, in this region and account",
            )]),
            None => Self::failed(refusal.said()),
        }
    }
}

/// EC2's words on one line. What follows `Encoded authorization failure message` is of no use to people and long.
fn words(message: &str) -> String {
    let message = message
        .split("Encoded authorization failure message")
        .next();
    let clean = message.unwrap_or_default().replace(char::is_control, " ");
    clean.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: &str, reads: bool) -> ProvisionError {
        Failure::Refused(Refusal {
            what: "making i".into(),
            code: code.into(),
            message: "no".into(),
            reads,
            account: None,
        })
        .into()
    }

    #[test]
    fn codes_mean_what_they_mean() {
        assert!(matches!(
            refused("RequestLimitExceeded", false),
            ProvisionError::Throttled { .. }
        ));
        assert!(matches!(
            refused("UnauthorizedOperation", true),
            ProvisionError::Denied(_)
        ));
        assert!(matches!(
            refused("InsufficientInstanceCapacity", false),
            ProvisionError::Capacity(_)
        ));
        assert!(refused("InternalError", false).is_outcome_unknown());
        assert!(!refused("InternalError", true).is_outcome_unknown());
        assert!(matches!(
            refused("Unavailable", false),
            ProvisionError::Unavailable(_)
        ));
        assert!(matches!(
            refused("VolumeInUse", false),
            ProvisionError::Failed(_)
        ));
        match refused("InvalidAMIID.NotFound", false) {
            ProvisionError::Invalid(problems) => assert_eq!(problems[0].field, "image"),
            other => panic!("{other}"),
        }
    }

    #[test]
    fn only_one_code_says_that_there_is_no_instance() {
        let said = |code: &str| {
            let refusal = Refusal {
                what: "looking".into(),
                code: code.into(),
                message: String::new(),
                reads: true,
                account: None,
            };
            Failure::Refused(refusal).said_to(Some("1".into()))
        };
        let gone = said("InvalidInstanceID.NotFound").has_no_instance();
        assert_eq!(gone, Some(Some("1".to_owned())));
        for other in ["InvalidInstanceID.Malformed", "InvalidVolume.NotFound", ""] {
            assert_eq!(said(other).has_no_instance(), None, "{other}");
        }
    }

    #[test]
    fn long_and_crooked_words_are_made_short() {
        assert_eq!(
            words("You are not\nauthorized. Encoded authorization failure message: AbC"),
            "You are not authorized."
        );
    }
}
