"""The proof that renews what ``aws login`` brought: RFC 9449, as botocore writes it."""

from __future__ import annotations

import base64
import json
import uuid
from typing import Any, cast

import botocore.credentials
import pytest
import time_machine
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.serialization import PrivateFormat

from aiocreds._base.redaction import SecretStr
from aiocreds._core.refresh import Clock
from aiocreds.sources.login.dpop import dpop_proof, private_key
from tests.helpers.dpop_keys import OTHER_KEYS, der_of, other_keys, pem_of
from tests.helpers.scripted import START
from tests.helpers.secret_leaks import MARK
from tests.helpers.sign_in_services import thumbprint

URL = "https://eu-central-1.signin.aws.amazon.com/v1/token"
BOTOCORE: Any = cast("Any", botocore.credentials)


def octets(text: str) -> bytes:
    assert not set(text) & set("+/="), "base64url has none of these, and no padding (RFC 7515, section 2)"
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def opened(proof: str) -> tuple[dict[str, Any], dict[str, Any], bytes]:
    header, claims, signature = proof.split(".")
    return json.loads(octets(header)), json.loads(octets(claims)), octets(signature)


def public_key(jwk: dict[str, str]) -> ec.EllipticCurvePublicKey:
    x, y = (int.from_bytes(octets(jwk[name]), "big") for name in "xy")
    return ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()


def verify(proof: str) -> None:
    header, _, signature = opened(proof)
    r, s = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
    signed = proof.rpartition(".")[0].encode()
    public_key(header["jwk"]).verify(utils.encode_dss_signature(r, s), signed, ec.ECDSA(hashes.SHA256()))


@pytest.fixture(scope="module")
def key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def test_what_it_says(key: ec.EllipticCurvePrivateKey) -> None:
    clock = Clock()
    with time_machine.travel(START + 0.9, tick=False):
        clock.learn(3600.0)
        proof = dpop_proof(key, "POST", URL, clock)
    header, claims, signature = opened(proof)
    assert set(header) == {"typ", "alg", "jwk"}
    assert (header["typ"], header["alg"]) == ("dpop+jwt", "ES256")
    assert set(header["jwk"]) == {"kty", "crv", "x", "y"}, "above all not d, the private key"
    assert public_key(header["jwk"]) == key.public_key()
    assert claims.keys() == {"jti", "htm", "htu", "iat"}
    assert (claims["htm"], claims["htu"]) == ("POST", URL)
    assert claims["iat"] == START + 3600
    assert type(claims["iat"]) is int
    assert uuid.UUID(claims["jti"]).version == 4
    assert len(signature) == 64
    verify(proof)
    with pytest.raises(InvalidSignature):
        verify(f"{proof[:-6]}{'AAAAAA' if proof[-6:] != 'AAAAAA' else 'BBBBBB'}")


def test_it_says_what_botocores_says(key: ec.EllipticCurvePrivateKey) -> None:
    theirs: str = BOTOCORE._build_dpop_header(BOTOCORE.EC.new_key_from_der_data(der_of(key)), URL)
    verify(theirs)
    ours = dpop_proof(key, "POST", URL, Clock())
    (their_header, their_claims, _), (our_header, our_claims, _) = opened(theirs), opened(ours)
    assert our_header == their_header
    assert thumbprint(our_header["jwk"]) == thumbprint(their_header["jwk"])
    assert {name: type(value) for name, value in our_claims.items()} == {
        name: type(value) for name, value in their_claims.items()
    }
    for claim in ("htm", "htu"):
        assert our_claims[claim] == their_claims[claim]
    assert abs(our_claims["iat"] - their_claims["iat"]) <= 1


def test_the_thumbprint_is_that_of_the_rfcs() -> None:
    """The example of RFC 9449, section 6.1: the servers of these tests can be trusted about bound tokens."""
    jwk = {
        "kty": "EC",
        "x": "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs",
        "y": "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA",
        "crv": "P-256",
    }
    assert bytes.fromhex(thumbprint(jwk)) == octets("0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I")


@pytest.mark.parametrize("ending", ["?a=b", "#c", "?a=b#c", "?"])
def test_query_and_fragment_are_left_out(key: ec.EllipticCurvePrivateKey, ending: str) -> None:
    assert opened(dpop_proof(key, "POST", URL + ending, Clock()))[1]["htu"] == URL


def test_no_two_are_alike(key: ec.EllipticCurvePrivateKey) -> None:
    with time_machine.travel(START, tick=False):
        proofs = [dpop_proof(key, "POST", URL, Clock()) for _ in range(50)]
    assert len({opened(proof)[1]["jti"] for proof in proofs}) == 50


def test_a_coordinate_that_begins_with_zeros_keeps_its_32_octets() -> None:
    """Of each coordinate, among keys that are made until some have one (RFC 7518, section 6.2.1.2)."""
    short = {"x": 0, "y": 0}
    for number in range(1, 20_000):
        key = ec.derive_private_key(number, ec.SECP256R1())
        point = key.public_key().public_numbers()
        small = [name for name in short if getattr(point, name) < 2**248]
        if not small:
            continue
        proof = dpop_proof(key, "POST", URL, Clock())
        jwk = opened(proof)[0]["jwk"]
        assert [len(octets(jwk[name])) for name in "xy"] == [32, 32]
        verify(proof)
        theirs: str = BOTOCORE._build_dpop_header(BOTOCORE.EC.new_key_from_der_data(der_of(key)), URL)
        assert jwk == opened(theirs)[0]["jwk"]
        for name in small:
            short[name] += 1
        if min(short.values()) >= 3:
            return
    raise AssertionError("no such keys were found")


def test_a_signature_that_begins_with_zeros_keeps_its_64_octets(key: ec.EllipticCurvePrivateKey) -> None:
    """Of both halves, among signatures that are made until some have one (RFC 7518, section 3.4)."""
    short = [0, 0]
    for _ in range(20_000):
        proof = dpop_proof(key, "POST", URL, Clock())
        signature = opened(proof)[2]
        assert len(signature) == 64
        if signature[0] and signature[32]:
            continue
        verify(proof)
        short = [count + (not octet) for count, octet in zip(short, (signature[0], signature[32]), strict=True)]
        if min(short) >= 1:
            return
    raise AssertionError("no such signatures were made")


@pytest.mark.parametrize("form", [PrivateFormat.TraditionalOpenSSL, PrivateFormat.PKCS8])
@pytest.mark.parametrize("ends", ["\n", "\r\n", ""])
def test_a_key(key: ec.EllipticCurvePrivateKey, form: PrivateFormat, ends: str) -> None:
    pem = pem_of(key, form).replace("\n", ends) if ends else pem_of(key, form).rstrip()
    assert private_key(SecretStr(pem)).private_numbers() == key.private_numbers()


@pytest.mark.parametrize("what", OTHER_KEYS)
def test_no_p_256_key(what: str) -> None:
    with pytest.raises(ValueError, match="no P-256 key") as caught:
        private_key(SecretStr(other_keys()[what]))
    assert MARK not in repr(caught.value)
