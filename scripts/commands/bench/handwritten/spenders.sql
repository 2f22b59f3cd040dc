-- Tagged contacts with a spend of at least 800 that speak Spanish.
SELECT c.id FROM public.contacts c
WHERE c.brand_id = %(brand)s AND c.merged_into IS NULL AND c.tags && '{tag3}' AND c.locale = 'es-ES'
    AND jsonb_typeof(c.properties -> 'spend') = 'number' AND (c.properties ->> 'spend')::numeric >= 800
