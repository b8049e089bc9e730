//! `muster infrakit`.

use std::path::PathBuf;

use clap::Subcommand;

/// What can be done for InfraKit's tools.
#[derive(Debug, Subcommand)]
pub(crate) enum InfrakitCommand {
    /// Serve the mesh as a plugin of InfraKit's: its group, instance and flavor interfaces on a socket
    #[command(
        after_help = "Examples:\n  muster infrakit serve\n  muster infrakit serve --socket /run/infrakit/plugins/muster --node 10.0.0.1:6878\n\n\
        The socket's name is the plugin's. Groups and machines are those of the mesh that --node means; muster's flavors are the \
        types of the flavor interface (muster/vanilla). Who may open the socket may do what whoever runs this may: mode 0660. \
        Runs until it is stopped."
    )]
    Serve {
        /// The socket to make; its directory is made if need be.
        ///
        /// By default `muster` in the directory of InfraKit's plugins: $INFRAKIT_PLUGINS_DIR, $INFRAKIT_HOME/plugins,
        /// ~/.infrakit/plugins.
        #[arg(long, value_name = "PATH")]
        socket: Option<PathBuf>,
    },
}
