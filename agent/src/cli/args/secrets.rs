//! `muster token` and `muster operator`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;

use super::duration;

/// What can be done with join tokens.
#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token; it is shown once and never again
    #[command(
        after_help = "Examples:\n  muster token create\n  muster token create --ttl 1h --uses 3 --group web\n  \
        T=$(muster token create)      only the token goes to standard output"
    )]
    Create {
        /// How long it lasts.
        #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = duration)]
        ttl: Duration,
        /// How many machines may join with it; as many as a fleet can have when absent.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        uses: Option<u32>,
        /// The group that they belong to; none when absent.
        #[arg(long, value_name = "ID")]
        group: Option<String>,
        /// What it is for.
        #[arg(long, value_name = "TEXT")]
        note: Option<String>,
    },
    /// All tokens, without their secrets
    List,
    /// End a token; machines that joined with it stay
    Revoke {
        /// The token's ID, from `muster token list`.
        id: String,
    },
}

/// What can be done with operators.
#[derive(Debug, Subcommand)]
pub(crate) enum OperatorCommand {
    /// Make a certificate and key for a person or program that asks from elsewhere
    #[command(after_help = "Examples:\n  muster operator create alice\n  \
        muster operator create backup --ttl 30d --out /etc/backup/muster.pem\n\n\
        Carry the file to ~/.config/muster/operator.pem of whoever it is for; then\n  \
        muster status --node 10.0.0.1:6878\nworks from there. It holds the private key, which is kept nowhere else.")]
    Create {
        /// The operator's name.
        name: String,
        /// How long the certificate lasts.
        #[arg(long, value_name = "DURATION", default_value = "90d", value_parser = duration)]
        ttl: Duration,
        /// Where to write it, by default NAME.pem here; in a directory as operator.pem; `-` is standard output.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// All operators
    List,
    /// End an operator's certificates
    Revoke {
        /// The operator's name.
        name: String,
    },
}
