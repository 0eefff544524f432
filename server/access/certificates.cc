#include "server/access/certificates.h"

#include <openssl/asn1.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <ctime>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "server/access/secret_file.h"

namespace batchnorm::access {
namespace {

template <auto kFree>
struct Free {
  template <typename Object>
  void operator()(Object* object) const {
    kFree(object);
  }
};
using Certificate = std::unique_ptr<X509, Free<X509_free>>;
using Key = std::unique_ptr<EVP_PKEY, Free<EVP_PKEY_free>>;
using Reader = std::unique_ptr<BIO, Free<BIO_free>>;

absl::Status Wrong(const std::string& path, const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat(path, ": ", what));
}

Reader Open(const std::string& pem) {
  return Reader(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
}

// Nobody is there to type one.
int NoPassphrase(char* /*text*/, int /*size*/, int /*writing*/,
                 void* /*context*/) {
  return 0;
}

// Up to the first block that is no certificate.
std::vector<Certificate> ParseCertificates(const std::string& pem) {
  std::vector<Certificate> certificates;
  const Reader reader = Open(pem);
  while (X509* const certificate =
             PEM_read_bio_X509(reader.get(), nullptr, NoPassphrase, nullptr)) {
    certificates.emplace_back(certificate);
  }
  const bool at_end =
      ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
  ERR_clear_error();
  if (!at_end) certificates.clear();
  return certificates;
}

Key ParseKey(const std::string& pem) {
  Key key(
      PEM_read_bio_PrivateKey(Open(pem).get(), nullptr, NoPassphrase, nullptr));
  ERR_clear_error();
  return key;
}

absl::Time TimeOf(const ASN1_TIME* time) {
  std::tm parts{};
  if (ASN1_TIME_to_tm(time, &parts) != 1) return absl::InfinitePast();
  return absl::FromTM(parts, absl::UTCTimeZone());
}

absl::Status CheckDates(const std::string& path, const X509& certificate,
                        absl::Time now) {
  const absl::Time begin = TimeOf(X509_get0_notBefore(&certificate));
  const absl::Time end = TimeOf(X509_get0_notAfter(&certificate));
  if (begin <= now && now < end) return absl::OkStatus();
  return Wrong(
      path, absl::StrCat("the certificate is valid from ",
                         absl::FormatTime(begin, absl::UTCTimeZone()), " to ",
                         absl::FormatTime(end, absl::UTCTimeZone()),
                         ", which is not now"));
}

absl::Status Check(const CertificateFiles& files, Certificates& read,
                   absl::Time now) {
  const std::vector<Certificate> chain = ParseCertificates(read.chain);
  if (chain.empty()) return Wrong(files.chain, "expected certificates in PEM");
  const Key key = ParseKey(read.key);
  if (key == nullptr) {
    return Wrong(files.key,
                 "expected a private key in PEM, without passphrase");
  }
  const bool fits = X509_check_private_key(chain.front().get(), key.get()) == 1;
  ERR_clear_error();
  if (!fits) {
    return Wrong(files.key, absl::StrCat("expected the key of ", files.chain,
                                         ", got another"));
  }
  if (!files.client_ca.empty() && ParseCertificates(read.client_ca).empty()) {
    return Wrong(files.client_ca, "expected certificates in PEM");
  }
  read.expiry = TimeOf(X509_get0_notAfter(chain.front().get()));
  return CheckDates(files.chain, *chain.front(), now);
}

}  // namespace

absl::StatusOr<Certificates> ReadCertificates(const CertificateFiles& files,
                                              absl::Time now) {
  Certificates read;
  for (const auto& [path, text] :
       {std::pair{&files.chain, &read.chain}, std::pair{&files.key, &read.key},
        std::pair{&files.client_ca, &read.client_ca}}) {
    if (path->empty()) continue;
    absl::StatusOr<std::string> content = ReadFile(*path);
    if (!content.ok()) return content.status();
    *text = *std::move(content);
  }
  absl::Status checked = Check(files, read, now);
  if (!checked.ok()) return checked;
  return read;
}

}  // namespace batchnorm::access
