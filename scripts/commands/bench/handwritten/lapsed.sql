-- People in Spain who scanned between 60 and 120 days ago and never redeemed a reward.
SELECT c.id FROM public.contacts c
WHERE c.brand_id = %(brand)s AND c.merged_into IS NULL AND c.country = 'ES'
    AND c.id IN (
        SELECT a.contact_id FROM public.contact_activity a
        WHERE a.brand_id = %(brand)s AND a.event = 'scan'
            AND a.day BETWEEN %(today)s::date - 120 AND %(today)s::date - 60)
    AND NOT EXISTS (
        SELECT FROM public.contact_activity a
        WHERE a.brand_id = c.brand_id AND a.contact_id = c.id AND a.event = 'reward_redeemed')
