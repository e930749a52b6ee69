#include "runtime/net/secret.hpp"

#include "runtime/core/limits.hpp"

#include <cctype>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace troupe::net {

namespace {

/// A file that is closed at the end; -1 when it could not be opened.
class open_file {
 public:
  open_file(const std::filesystem::path& path, int flags) : fd_(::open(path.c_str(), flags | O_CLOEXEC, 0600)) {}
  open_file(const open_file&) = delete;
  open_file& operator=(const open_file&) = delete;
  ~open_file() {
    if (fd_ >= 0) ::close(fd_);
  }
  explicit operator bool() const { return fd_ >= 0; }
  int get() const { return fd_; }

 private:
  int fd_;
};

/// Text that is overwritten before its memory goes.
class wiped_text {
 public:
  explicit wiped_text(std::size_t size) : text_(size, '\0') {}
  wiped_text(const wiped_text&) = delete;
  wiped_text& operator=(const wiped_text&) = delete;
  ~wiped_text() { wipe(std::as_writable_bytes(std::span(text_))); }
  std::string& text() { return text_; }

 private:
  std::string text_;
};

error refusal(const std::string& source, const std::string& why) {
  return {errc::bad_input, "cluster secret: " + source + ": " + why};
}

error system_refusal(const std::filesystem::path& file, const std::string& what) {
  return refusal(file.string(), what + ": " + std::strerror(errno));
}

std::string octal(unsigned mode) {
  std::string out = "0";
  for (int shift = 6; shift >= 0; shift -= 3) out += static_cast<char>('0' + ((mode >> shift) & 7));
  return out;
}

result<cluster_secret> secret_of(const std::string& source, std::string_view text) {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back()))) text.remove_suffix(1);
  if (text.size() < limits::secret_bytes_min)
    return refusal(source, "a secret of " + std::to_string(text.size()) + " characters can be guessed; at least " +
                               std::to_string(limits::secret_bytes_min));
  if (text.size() > limits::secret_bytes_max)
    return refusal(source, "longer than " + std::to_string(limits::secret_bytes_max) + " characters");
  return cluster_secret(text);
}

/// Ours (or root's), a plain file, and nobody else may touch it.
result<void> check_rights(const std::filesystem::path& file, int fd) {
  struct stat about {};
  if (::fstat(fd, &about) != 0) return system_refusal(file, "cannot look at it");
  if (!S_ISREG(about.st_mode)) return refusal(file.string(), "not a plain file");
  if (about.st_uid != ::geteuid() && about.st_uid != 0) return refusal(file.string(), "belongs to another user");
  if (about.st_mode & 077)
    return refusal(file.string(), "others may use it (mode " + octal(about.st_mode) + "); chmod 600 it");
  return {};
}

result<cluster_secret> read_secret(const std::filesystem::path& file) {
  const open_file in(file, O_RDONLY | O_NONBLOCK); // a pipe is refused below, not waited for
  if (!in) return system_refusal(file, "cannot open it");
  TROUPE_TRY(check_rights(file, in.get()));
  wiped_text held(limits::secret_bytes_max + 2); // one more than allowed, and its newline
  std::size_t size = 0;
  while (size < held.text().size()) {
    const auto count = ::read(in.get(), held.text().data() + size, held.text().size() - size);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return system_refusal(file, "cannot read it");
    if (count == 0) break;
    size += static_cast<std::size_t>(count);
  }
  return secret_of(file.string(), std::string_view(held.text()).substr(0, size));
}

/// 32 random bytes in hex and a newline.
void write_hex(const nonce& bytes, std::string& out) {
  constexpr std::string_view digits = "0123456789abcdef";
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    out[2 * i] = digits[static_cast<unsigned>(bytes[i]) >> 4];
    out[2 * i + 1] = digits[static_cast<unsigned>(bytes[i]) & 15];
  }
  out.back() = '\n';
}

/// Written beside its place and linked there whole: whoever comes second finds the first one's.
result<void> make_secret_file(const std::filesystem::path& file) {
  std::error_code failed;
  const auto folder = file.parent_path();
  if (std::filesystem::create_directories(folder, failed); failed)
    return refusal(folder.string(), "cannot make it: " + failed.message());
  auto fresh = fresh_nonce();
  wiped_text held(2 * fresh.size() + 1);
  write_hex(fresh, held.text());
  wipe(fresh);
  const auto draft = file.string() + "." + std::to_string(::getpid()) + ".new";
  ::unlink(draft.c_str()); // of a process that died here under our number
  const open_file out(draft, O_WRONLY | O_CREAT | O_EXCL);
  if (!out) return system_refusal(draft, "cannot make it");
  const auto written = ::write(out.get(), held.text().data(), held.text().size());
  const bool whole = written == static_cast<ssize_t>(held.text().size()) && ::fsync(out.get()) == 0;
  const bool placed = whole && (::link(draft.c_str(), file.c_str()) == 0 || errno == EEXIST);
  const auto why = errno;
  ::unlink(draft.c_str());
  errno = why;
  return placed ? result<void>() : system_refusal(file, "cannot write it");
}

} // namespace

secret_sources secret_sources_from_environment(std::filesystem::path file_of_flag) {
  secret_sources out;
  if (const char* text = std::getenv("TROUPE_CLUSTER_SECRET")) out.text = text;
  out.file = std::move(file_of_flag);
  const char* config = std::getenv("XDG_CONFIG_HOME");
  const char* home = std::getenv("HOME");
  if (config && *config == '/') // the standard says: relative ones are ignored
    out.default_file = std::filesystem::path(config) / "troupe/cluster.key";
  else if (home && *home)
    out.default_file = std::filesystem::path(home) / ".config/troupe/cluster.key";
  return out;
}

result<cluster_secret> load_cluster_secret(const secret_sources& from) {
  if (from.text) return secret_of("TROUPE_CLUSTER_SECRET", *from.text);
  if (!from.file.empty()) return read_secret(from.file);
  if (from.default_file.empty()) return refusal("HOME", "not set, and neither is TROUPE_CLUSTER_SECRET");
  std::error_code ignored;
  if (!std::filesystem::exists(from.default_file, ignored)) TROUPE_TRY(make_secret_file(from.default_file));
  return read_secret(from.default_file);
}

} // namespace troupe::net
