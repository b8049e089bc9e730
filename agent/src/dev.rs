//! `muster dev`: a whole fleet on this machine, to try things out.
//!
//! `dev` is no member of the fleet and decides nothing. It has the `process` provisioner make the first machine, whose
//! agent founds the mesh, hands that machine the specs, and the fleet makes the rest by itself. From then on `dev`
//! watches, through whichever machine answers. Nobody needs it: killed, it leaves a fleet that goes on healing, which
//! the next `dev` on the directory takes over.
//!
//! - `place`: which machines a directory has, and which of them answers;
//! - `specs`: the default fleet, and what was applied last;
//! - `founding`: the first machine;
//! - `applying`: handing over the specs;
//! - `supervise`: `muster dev` itself;
//! - `manage`: `muster dev start`, `stop`, `list` and `clean`.

mod applying;
mod founding;
mod manage;
mod place;
mod root;
mod say;
pub(crate) mod specs;
mod supervise;

pub(crate) use manage::{clean, list, start, stop};
pub(crate) use place::{is_fleet, live_socket, socket_of};
pub(crate) use supervise::{DevOptions, run};

/// Where a fleet lives unless told otherwise: below the current directory, so that commands given there find it.
pub(crate) const DIR_DEFAULT: &str = ".muster-dev";
