#include "runtime/model/mapped_file.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <string>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace troupe::model {
namespace {

void unmap(std::span<const std::byte> part) {
  if (!part.empty()) ::munmap(const_cast<std::byte*>(part.data()), part.size());
}

} // namespace

result<mapped_file> mapped_file::open(const std::filesystem::path& path) {
  const auto failed = [&](int number) {
    return error{number == ENOENT ? errc::not_found : errc::bad_input, path.string() + ": " + std::strerror(number)};
  };
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return failed(errno);
  struct stat about {};
  const bool regular = ::fstat(fd, &about) == 0 && S_ISREG(about.st_mode);
  const auto size = regular ? static_cast<std::size_t>(about.st_size) : 0;
  void* data = size ? ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0) : nullptr;
  const int number = errno;
  ::close(fd);
  if (!regular) return error{errc::bad_input, path.string() + ": not a regular file"};
  if (data == MAP_FAILED) return failed(number);
  return mapped_file({static_cast<const std::byte*>(data), size});
}

void mapped_file::keep(std::span<const std::span<const std::byte>> wanted) {
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  std::vector<std::span<const std::byte>> kept;
  std::size_t end = 0; // of the pages that are dealt with
  const auto drop_until = [&](std::size_t begin) {
    if (begin > end) unmap(bytes_.subspan(end, begin - end));
  };
  for (const auto& part : wanted) {
    const auto at = static_cast<std::size_t>(part.data() - bytes_.data());
    const auto begin = std::max(end, at / page * page);
    const auto after = std::min(bytes_.size(), (at + part.size() + page - 1) / page * page);
    if (part.empty() || after <= begin) continue;
    drop_until(begin);
    kept.push_back(bytes_.subspan(begin, after - begin));
    end = after;
  }
  drop_until(bytes_.size());
  mapped_ = std::move(kept);
}

mapped_file::~mapped_file() {
  for (const auto& part : mapped_) unmap(part);
}

} // namespace troupe::model
