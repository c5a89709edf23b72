//! The IOCTL contract between wskguard.sys and its companion.
