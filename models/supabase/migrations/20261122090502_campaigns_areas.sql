-- Check a polygon before it is stored as the geofence of a campaign.
--
-- A line between two positions is the shortest way between them (a geodesic), so the antimeridian and the poles need no
-- special case. The direction of a ring does not matter: the inside is the smaller side.

-- Return the first fault of a polygon in GeoJSON with its place; no row: it can be stored. Rings are closed.
create function app.area_fault(p_polygon jsonb, p_max_extent_m float8, p_min_area_m2 float8)
returns table (reason text, lat float8, lon float8) language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
    shape extensions.geometry;
    corner extensions.geometry;
    sphere constant text := '+proj=longlat +R=6371008.8 +no_defs';
    -- A gnomonic projection shows the shortest lines between positions as straight lines. So the planar check for
    -- crossings is exact in it, also across the antimeridian and around a pole.
    plane text;
    detail record;
    place extensions.geometry;
begin
    if jsonb_typeof(p_polygon -> 'coordinates') is distinct from 'array' then
        perform app.refuse(422, 'invalid');
    end if;
    shape := extensions.st_setsrid(extensions.st_geomfromgeojson(p_polygon::text), 4326);
    corner := extensions.st_startpoint(extensions.st_exteriorring(shape));
    plane := format('+proj=gnom +R=6371008.8 +lat_0=%s +lon_0=%s', extensions.st_y(corner), extensions.st_x(corner));

    -- The projection shows less than half of the earth, and PostGIS raises an error for a line between opposite places,
    -- so distances are checked first, on positions alone.
    select d.geom into place from extensions.st_dumppoints(shape) d
    where extensions.st_distance(d.geom::extensions.geography, corner::extensions.geography) > p_max_extent_m limit 1;
    if place is not null then
        return query select 'too_wide', extensions.st_y(place), extensions.st_x(place);
        return;
    end if;

    select v.valid, v.reason, v.location into detail
    from extensions.st_isvaliddetail(extensions.st_transform(shape, sphere, plane)) v;
    if not detail.valid then
        place := extensions.st_transform(extensions.st_setsrid(detail.location, 0), plane, sphere);
        return query select case when detail.reason ~* 'self-intersection' then 'crossing' else 'outside' end,
            extensions.st_y(place), extensions.st_x(place);
        return;
    end if;

    if extensions.st_area(shape::extensions.geography) < p_min_area_m2 then
        return query select 'too_small', extensions.st_y(corner), extensions.st_x(corner);
    end if;
end
$$;
call app.grant_definer('app.area_fault(jsonb,float8,float8)', array['authenticated', 'app_job']);
