#pragma once
#include "node/route.hpp"

#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <string_view>
#include <vector>

/// What a request's bytes say: pure functions, fed by the server and by the fuzzers.
namespace px::node {

using Values = std::map<std::string, std::vector<std::string>>;

/// Adds the pairs of a form (or query) to `out`; & and ; separate, + is a blank, a repeated key is
/// a list. Throws ApiError 400 on a broken escape.
void parse_form(std::string_view text, Values& out);

/// Adds the members of a JSON object. Booleans become 1 and 0, a null is as if not given; an object
/// as a value is refused (400, "got HASH"); broken JSON and another top level are a 500, as Perl
/// dies of them there.
void parse_json(std::string_view text, Values& out);

/// Takes a multipart/form-data body piece by piece: fields in memory (small), the part named
/// `filename` into a file. As with the real server, what comes after the file is not seen.
class MultipartParser {
 public:
  /// `content_type`: the header with its boundary. Throws ApiError 400 without one.
  MultipartParser(std::string_view content_type, std::filesystem::path spool);
  ~MultipartParser();
  MultipartParser(const MultipartParser&) = delete;
  MultipartParser& operator=(const MultipartParser&) = delete;

  /// Throws ApiError 400 on broken framing or a field over 64 KiB, 500 when the disk is full.
  void feed(std::string_view piece);
  /// After the last piece: the file, which is the caller's then. Throws ApiError 400 when it is
  /// missing or cut off.
  UploadedFile finish();

  const Values& fields() const noexcept { return fields_; }

 private:
  enum class In { preamble, headers, field, file, done };
  void step();
  bool take_headers();
  bool take_body();
  void write_file(std::string_view bytes);

  std::string delimiter_;  ///< CRLF, two hyphens, boundary
  std::filesystem::path spool_;
  std::ofstream out_;
  In in_ = In::preamble;
  std::string buffer_;
  std::string name_;
  Values fields_;
  UploadedFile file_;
  bool kept_ = false;
};

}  // namespace px::node
