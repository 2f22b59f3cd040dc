-- Contacts that took part in one campaign, or have a conversion in 90 days, and like flamenco.
SELECT c.id FROM public.contacts c
JOIN public.fan_traits t ON t.brand_id = c.brand_id AND t.user_id = c.user_id AND t.name = 'genre'
    AND t.value = 'flamenco' AND t.usable_until > now()
WHERE c.brand_id = %(brand)s AND c.merged_into IS NULL
    AND c.id IN (
        SELECT a.contact_id FROM public.contact_activity a
        WHERE a.brand_id = %(brand)s AND a.campaign_id = md5('campaign7')::uuid
        UNION ALL
        SELECT a.contact_id FROM public.contact_activity a
        WHERE a.brand_id = %(brand)s AND a.event = 'conversion' AND a.day BETWEEN %(today)s::date - 90 AND %(today)s)
