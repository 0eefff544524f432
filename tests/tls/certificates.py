"""Certificates for the tests, made as they run: none of them is worth stealing."""

import datetime
import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = datetime.timedelta(days=1)


def name_of(common_name):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def pem_of(key):
    return key.private_bytes(serialization.Encoding.PEM,
                             serialization.PrivateFormat.PKCS8,
                             serialization.NoEncryption())


class Pair:
    """A certificate and its key, as PEM bytes."""

    def __init__(self, certificate, key):
        self.certificate = certificate.public_bytes(serialization.Encoding.PEM)
        self.key = pem_of(key)


class Authority:
    """One that signs. Its own certificate is `pem`."""

    def __init__(self, common_name="test authority"):
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = name_of(common_name)
        self.pem = self._sign(self.name, self.key.public_key(), True, ()
                              ).public_bytes(serialization.Encoding.PEM)

    def issue(self, common_name, hosts=(), expired=False):
        key = ec.generate_private_key(ec.SECP256R1())
        return Pair(self._sign(name_of(common_name), key.public_key(), False,
                               hosts, expired), key)

    def _sign(self, subject, public_key, is_authority, hosts, expired=False):
        now = datetime.datetime.utcnow()
        end = now - DAY if expired else now + DAY
        builder = (x509.CertificateBuilder()
                   .subject_name(subject).issuer_name(self.name)
                   .public_key(public_key)
                   .serial_number(x509.random_serial_number())
                   .not_valid_before(now - 3 * DAY).not_valid_after(end)
                   .add_extension(x509.BasicConstraints(is_authority, None), True))
        if hosts:
            names = [x509.IPAddress(ipaddress.ip_address(host))
                     if host[0].isdigit() else x509.DNSName(host)
                     for host in hosts]
            builder = builder.add_extension(
                x509.SubjectAlternativeName(names), False)
        return builder.sign(self.key, hashes.SHA256())


def self_signed(common_name, hosts=()):
    """A certificate that nobody else vouches for."""
    return Authority("nobody").issue(common_name, hosts)
