"""Names of the acts in the audit trail, as `subject.verb`, and their meanings.

Every action that an endpoint, a rule or an SQL function records is listed here, and nothing else: a test compares.
"""

from typing import Annotated

import msgspec

from models.core.enumerations import enumeration

ACTIONS = {
    "account.ensure_admin": "create a system admin or set its password, from the command line",
    "account.mirror": "create or update the account of a person who signed in at Supabase",
    "account.signup": "request a new account",
    "account.update": "change the own profile",
    "account.verify": "confirm the address of a new account",
    "actor.pause": "pause the jobs of an actor",
    "actor.resume": "resume the jobs of an actor",
    "api_key.create": "create an API key",
    "api_key.revoke": "revoke an API key",
    "audit.export": "export audit entries",
    "audit.prune": "delete expired audit entries",
    "audit.read": "read audit entries",
    "brand.archive": "archive a brand",
    "brand.create": "create a brand",
    "brand.restore": "restore an archived brand",
    "brand.update": "change a brand or its settings",
    "campaign.assign": "assign a Creator to a campaign",
    "campaign.create": "create a campaign",
    "campaign.launch": "request the launch of a campaign",
    "campaign.launched": "launch a campaign, by its job",
    "campaign.list_assigned": "list the campaigns of a member",
    "campaign.unassign": "remove a Creator from a campaign",
    "campaign.update": "change a campaign",
    "code.create": "create QR codes",
    "consent.grant": "give consents",
    "consent.revoke": "withdraw a consent",
    "dead_job.read": "read a dead letter",
    "dead_jobs.replay": "replay dead letters",
    "email.ask": "request a new email address of the own account",
    "email.change": "confirm a new email address",
    "email.undo": "undo the change of an email address",
    "invitation.accept": "join a brand by an invitation",
    "invitation.create": "invite a person to a brand",
    "invitation.list": "list the invitations of a brand",
    "invitation.read": "read an invitation",
    "invitation.resend": "send an invitation again",
    "invitation.revoke": "revoke an invitation",
    "job.cancel": "cancel a job",
    "job.replay": "replay one dead letter",
    "member.change_role": "change the role of a member",
    "member.list": "list the members of a brand",
    "member.read": "read a member",
    "member.remove": "remove a member from a brand",
    "mfa.confirm": "confirm a second factor",
    "mfa.enrol": "begin to set up a second factor",
    "mfa.recovery_codes": "create new recovery codes",
    "mfa.remove": "remove the own second factor",
    "password.change": "change the own password",
    "password.forget": "request a link for a new password",
    "password.reset": "choose a new password by a link",
    "queue.pause": "pause a queue of jobs",
    "queue.resume": "resume a queue of jobs",
    "request.refuse": "be refused at an endpoint whose acts are not recorded",
    "scan.record": "be refused while recording a scan",
    "session.end": "end a session",
    "session.step_up": "confirm the identity again",
    "session.refresh": "refresh a session",
    "session.start": "sign in",
    "session.verify": "show the second factor",
    "user.change_role": "change the role or brand of a person",
    "user.read": "read the account of a person",
    "user.reinstate": "reinstate a suspended account",
    "user.reset_mfa": "remove the second factor of a person",
    "user.search": "search accounts",
    "user.suspend": "suspend an account",
}

AuditAction = Annotated[
    str,
    enumeration(
        "AuditAction",
        "Act, as `subject.verb`:\n\n" + "\n".join(f"- `{name}`: {meaning}" for name, meaning in ACTIONS.items()),
    ),
    msgspec.Meta(extra_json_schema={"enum": list(ACTIONS)}),
]
