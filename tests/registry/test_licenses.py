"""Licences of weights: said once where they restrict, refused where the caller allows only some."""

import warnings

import pytest

import vitzoo
from vitzoo.errors import LicenseError, WeightsError
from vitzoo.registry import licenses as licensing
from vitzoo.registry.licenses import ENVIRONMENT, PERMISSIVE, RestrictedLicense, check_license

BUNDLED = "vit_nano4.cifar10"


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(licensing, "_said", set())
    monkeypatch.delenv(ENVIRONMENT, raising=False)


def test_a_restricted_licence_is_said_once() -> None:
    with pytest.warns(RestrictedLicense, match="dinov3_x is under the licence 'dinov3-license', which restricts"):
        check_license("dinov3_x", "dinov3-license")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_license("dinov3_x", "dinov3-license")
        for license in PERMISSIVE:
            check_license("vit", license)


@pytest.mark.parametrize("allowed", [["mit"], "mit", []])
def test_what_is_not_allowed_is_refused(allowed: object) -> None:
    with pytest.raises(LicenseError, match=r"under the licence 'apache-2.0', and only .* may be used"):
        vitzoo.create(BUNDLED, pretrained=True, allow_licenses=allowed)


def test_the_environment_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT, "mit, apache-2.0")
    assert vitzoo.create(BUNDLED, pretrained=True).license == "apache-2.0"
    monkeypatch.setenv(ENVIRONMENT, "mit")
    with pytest.raises(LicenseError):
        vitzoo.create(BUNDLED, pretrained=True)
    assert vitzoo.create(BUNDLED, pretrained=True, allow_licenses=["apache-2.0"]).license == "apache-2.0"


def test_a_licence_is_looked_at_before_anything_is_fetched() -> None:
    with pytest.raises(LicenseError, match=r"licence 'dinov3-license'"):
        vitzoo.create("dinov3_s16", pretrained=True, allow_licenses=["apache-2.0"])
    with pytest.warns(RestrictedLicense), pytest.raises(WeightsError, match="not in the cache"):
        vitzoo.create("dinov3_s16", pretrained=True)


def test_a_file_that_states_none_is_refused_where_licences_are_asked_for(tmp_path) -> None:
    model = vitzoo.create(BUNDLED, pretrained=True)
    model.license = None
    path = vitzoo.save(model, tmp_path / "mine")
    assert vitzoo.create(path).license is None
    with pytest.raises(LicenseError, match="a licence that is not stated"):
        vitzoo.create(path, allow_licenses=["apache-2.0"])


def test_every_entry_has_a_licence_as_the_hub_spells_it() -> None:
    from vitzoo import registry

    for name in registry.list_pretrained():
        license = registry.weights_entry(name).license
        assert license == license.strip().lower().replace(" ", "-"), name
        assert license, name
