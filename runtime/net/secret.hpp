// The cluster secret: whoever knows it belongs to the cluster. It is never sent, printed or logged; peers prove that
// they have it (handshake.hpp).
//
//   $TROUPE_CLUSTER_SECRET  >  the file a flag names  >  ~/.config/troupe/cluster.key, made at first use
#pragma once

#include "runtime/core/result.hpp"
#include "runtime/net/digest.hpp"

#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace troupe::net {

/// Holds only the SHA-256 of the secret's text: the key of every proof. Forgets it when it goes.
class cluster_secret {
 public:
  explicit cluster_secret(std::string_view text) : key_(sha256(std::as_bytes(std::span(text)))) {}
  cluster_secret(const cluster_secret&) = default;
  cluster_secret& operator=(const cluster_secret&) = default;
  ~cluster_secret() { wipe(key_); }

  std::span<const std::byte> key() const { return key_; }

 private:
  digest key_;
};

/// Where the secret may come from, the first that is set.
struct secret_sources {
  std::optional<std::string> text;    ///< $TROUPE_CLUSTER_SECRET, the secret itself
  std::filesystem::path file;         ///< named by a flag; must exist
  std::filesystem::path default_file; ///< made with 32 random bytes when it is not there
};

/// $TROUPE_CLUSTER_SECRET, and cluster.key in $XDG_CONFIG_HOME/troupe or ~/.config/troupe. Call before there are
/// threads that change the environment.
secret_sources secret_sources_from_environment(std::filesystem::path file_of_flag = {});

/// Several processes may make the default file at the same time: all end up with the same one.
/// Errors: bad_input with one line that names the source and never the secret: too short or long, a file that is not
/// there, belongs to somebody else, or may be read by others (as ssh refuses a key).
result<cluster_secret> load_cluster_secret(const secret_sources& from);

} // namespace troupe::net
