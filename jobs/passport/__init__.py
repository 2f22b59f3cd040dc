"""Passport: the only door to downstream services. Each call is checked, limited, recorded and audited.

`contract` describes services, `gateway.connect` returns one of them. `policy` lists the jobs that may call an
operation. `services/<name>/` holds the contract and the local implementation of a service; `http_transport` calls any
service over HTTP instead, if `settings` has its URL.
"""
