"""Operation ids: a verb and the resource, e.g. `listCampaigns`. Client generators name methods by them."""

_OF_ONE = {"get": "get", "post": "create", "put": "replace", "patch": "update", "delete": "delete"}
"""Verbs of methods, on a resource that is no list."""


def derive(method: str, resource: str, path: str, *, is_list: bool) -> str:
    """Return the operation id of a method of a resource.

    Args:
        method: in lower case.
        resource: the name of the resource's class, e.g. `Campaigns`, `Campaign` or `CampaignLaunch`.
        path: as in the document. If it ends with a word with which the class's name ends, too, this word is the verb:
            `POST …/launch` of `CampaignLaunch` is `launchCampaign`.
        is_list: whether the answer to `GET` is a list.
    """
    word = path.rpartition("/")[2]
    noun = resource[: -len(word)]
    if method in ("post", "put") and noun and resource.lower().endswith(word.lower()) and word.isalpha():
        return word + noun
    if is_list and method == "get":
        return "list" + resource
    if method == "post":
        return "create" + singular(resource)
    return _OF_ONE[method] + resource


def singular(name: str) -> str:
    """Return the singular of a resource's name in the plural: `Campaigns` is `Campaign`."""
    return name.removesuffix("s")
