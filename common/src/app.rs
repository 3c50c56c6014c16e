//! The applications that deep packet inspection can recognise: one closed list for both programs.

/// Declares [`App`] with each variant's name and the name that EVE gives it.
macro_rules! apps {
    ($($(#[$doc:meta])* $variant:ident = $number:literal $name:literal),* $(,)?) => {
        /// An application protocol, recognised by content. The number is stable: it is stored.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u16)]
        pub enum App {
            /// Not recognised, or not yet.
            #[default]
            Unknown = 0,
            $($(#[$doc])* $variant = $number,)*
        }

        impl App {
            /// Every application that can be recognised.
            pub const ALL: &[App] = &[$(App::$variant),*];

            /// The name used in EVE's `app_proto`, in IPFIX `applicationName`, in queries.
            pub const fn name(self) -> &'static str {
                match self {
                    App::Unknown => "unknown",
                    $(App::$variant => $name,)*
                }
            }

            /// The application of a name, as [`App::name`] gives it.
            pub fn from_name(name: &str) -> Option<App> {
                match name {
                    "unknown" | "failed" | "" => Some(App::Unknown),
                    $($name => Some(App::$variant),)*
                    _ => None,
                }
            }
        }
    };
}

apps! {
    /// Domain Name System, RFC 1035.
    Dns = 1 "dns",
    /// HTTP/1.x, RFC 9112.
    Http = 2 "http",
    /// TLS over TCP, RFC 8446 and before.
    Tls = 3 "tls",
    /// Secure Shell, RFC 4253.
    Ssh = 4 "ssh",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_their_application() {
        for app in App::ALL {
            assert_eq!(App::from_name(app.name()), Some(*app));
        }
        assert_eq!(App::from_name("gopher"), None);
    }
}
