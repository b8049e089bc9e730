//! provisioners
