-- Contacts within 20 km of the centre of Madrid, born before 1990, that have not told the brand to stop.
SELECT c.id FROM public.contacts c
WHERE c.brand_id = %(brand)s AND c.merged_into IS NULL AND c.birth_date < '1990-01-01' AND c.opted_out_at IS NULL
    AND c.lat BETWEEN 40.4154 - 0.1809 AND 40.4154 + 0.1809
    AND extensions.st_dwithin(extensions.st_makepoint(c.lon, c.lat)::extensions.geography,
        extensions.st_makepoint(-3.7074, 40.4154)::extensions.geography, 20000)
