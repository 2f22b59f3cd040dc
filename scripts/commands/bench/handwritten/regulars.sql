-- People in Spain or Portugal with two scans in 30 days, whose last consent to marketing is not withdrawn.
SELECT c.id FROM public.contacts c
JOIN (
    SELECT a.contact_id FROM public.contact_activity a
    WHERE a.brand_id = %(brand)s AND a.event = 'scan' AND a.day BETWEEN %(today)s::date - 30 AND %(today)s
    GROUP BY a.contact_id HAVING sum(a.n) >= 2
) scanned ON scanned.contact_id = c.id
WHERE c.brand_id = %(brand)s AND c.merged_into IS NULL AND c.country IN ('ES', 'PT')
    AND NOT EXISTS (
        SELECT FROM public.consents k
        WHERE k.user_id = c.user_id AND k.consent_tier = 'marketing' AND (k.brand_id IS NULL OR k.brand_id = c.brand_id)
        HAVING count(*) > 0 AND NOT bool_or(k.revoked_at IS NULL AND k.expires_at > now())
            AND max(k.revoked_at) FILTER (WHERE k.revoked_at < k.expires_at)
                >= coalesce(max(k.expires_at) FILTER (WHERE k.revoked_at IS NULL OR k.revoked_at >= k.expires_at),
                    '-infinity'))
