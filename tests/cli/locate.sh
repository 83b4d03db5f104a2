#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# mfrgn locate, track and index calibrate: answers in every format, pictures, calibration, bad input.
. "$(dirname "$0")/lib.sh"
cd "$scratch" || exit 1

mkdir -p tiles photos
"$MAKE_PICTURES" . 6 || exit 1
mv aerial-*.ppm tiles && mv ground-*.ppm photos
# shellcheck disable=SC2086
"$MAKE_MODEL" model.safetensors $tiny_keys || exit 1
echo "path,latitude,longitude,width_m,height_m" >tiles/tiles.csv
echo "ground,aerial,latitude,longitude" >pairs.csv
echo "path,distance_m,turn_deg,latitude,longitude" >drive.csv
for i in 0 1 2 3 4 5; do
    echo "aerial-$i.ppm,51.50$i,-0.1,102.4,102.4" >>tiles/tiles.csv
    echo "photos/ground-$i.ppm,tiles/aerial-$i.ppm,51.50$i,-0.1" >>pairs.csv
    echo "photos/ground-$i.ppm,$([ $i = 0 ] || echo 111),0,51.50$i,-0.1" >>drive.csv
done
"$MAKE_GALLERY" model.safetensors tiles/tiles.csv town.mfg || exit 1
run="--model model.safetensors --backend $backend --index town.mfg"

# shellcheck disable=SC2086
{
    # answers
    expect 0 locate $run photos
    silent
    says 'not known: the gallery is not calibrated'
    says '^ +1 +-?0\.[0-9]{4} +[0-9.]+ % +51\.50[0-9]+ +-0\.1000000 +aerial-[0-5]'
    expect 0 locate $run --json -k 3 --truth pairs.csv photos
    valid_json out
    json out 'len(d) == 6 and all(len(e["candidates"]) == 3 for e in d)'
    json out 'all(51.49 < e["latitude"] < 51.51 and abs(e["longitude"] + 0.1) < 1e-3 for e in d)'
    json out 'all(e["in_gallery"] is None and e["calibrated"] is False and e["error_m"] >= 0 for e in d)'
    json out 'all(e["covariance"]["east_m2"] > 0 and e["covariance"]["north_m2"] > 0 for e in d)'
    json out 'all([c["score"] for c in e["candidates"]] == sorted((c["score"] for c in e["candidates"]), reverse=True) for e in d)'
    expect 0 locate $run --json -k 1000 photos/ground-0.ppm
    json out 'len(d[0]["candidates"]) == 6 and abs(sum(c["probability"] for c in d[0]["candidates"]) - 1) < 1e-4'
    expect 0 locate $run --geojson photos
    valid_json out
    json out 'd["type"] == "FeatureCollection" and sum(f["properties"]["kind"] == "estimate" for f in d["features"]) == 6'
    json out 'all(abs(f["geometry"]["coordinates"][0] + 0.1) < 1e-3 for f in d["features"])'
    expect 0 locate $run --kml photos
    says '<coordinates>-0\.1'
    checks=$((checks + 1))
    ! command -v python3 >/dev/null || python3 -c 'import sys, xml.dom.minidom as m; m.parse(sys.argv[1])' out ||
        check_failed "KML is not XML"
    expect 0 locate $run --csv -k 2 photos
    is "$(wc -l <out)" 13 "lines of the CSV"
    expect 0 locate $run --csv -o answers.csv photos/ground-0.ppm
    no_output
    is "$(wc -l <answers.csv)" 6 "lines of the CSV in a file"
    expect 0 locate $run --yaw 4 --json photos/ground-1.ppm
    json out 'd[0]["heading"] in (0, 90, 180, 270)'
    expect 0 locate $run --prior 51.502,-0.1,150 --json photos/ground-1.ppm
    json out 'sorted(c["tile"][:8] for c in d[0]["candidates"]) == ["aerial-1", "aerial-2", "aerial-3"]'
    expect 0 locate $run --prior 10,10,150 photos/ground-1.ppm
    says 'no tile is there'
    expect 0 locate $run --fov 70 --pitch 5 --yaw 4 photos/ground-1.ppm
    complains 'outside what the paper trained'
    # the same camera by its focal lengths: 90 degrees are half the width
    expect 0 locate $run --fov 90 --pitch 5 --roll -3 --json photos/ground-1.ppm
    cp out by-angle
    width=$(sed -n 2p photos/ground-1.ppm | cut -d' ' -f1)
    height=$(sed -n 2p photos/ground-1.ppm | cut -d' ' -f2)
    half="$(python3 -c "print($width / 2)" 2>/dev/null || echo $((width / 2)))"
    middle="$(python3 -c "print($height / 2)" 2>/dev/null || echo $((height / 2)))"
    expect 0 locate $run --intrinsics "$half,$half,$half,$middle" --pitch 5 --roll -3 --json photos/ground-1.ppm
    complains 'outside what the paper trained'
    cmp -s out by-angle || check_failed "a camera by its focal lengths is another"

    # the truth of pictures of one name, by the folder
    mkdir -p a b
    cp photos/ground-1.ppm a/x.ppm
    cp photos/ground-2.ppm b/x.ppm
    printf 'path,latitude,longitude\na/x.ppm,51.501,-0.1\nb/x.ppm,51.502,-0.1\n' >twins.csv
    expect 0 locate $run --json -k 6 --truth twins.csv a b
    json out '[[c["latitude"] for c in e["candidates"] if c["true"]][0] for e in d] == [51.501, 51.502]'

    # pictures
    expect 0 locate $run --truth pairs.csv --mosaic all.png --report all.html photos/ground-0.ppm photos/ground-1.ppm
    is "$(head -c 8 all.png | od -An -c | tr -d ' ')" '211PNG\r\n032\n' "signature of the mosaic"
    checks=$((checks + 1))
    grep -q 'data:image/png;base64,iVBOR' all.html || check_failed "no picture in the report"
    checks=$((checks + 1))
    ! grep -Eq 'src=.http|href=' all.html || check_failed "the report loads something"
    is "$(grep -c '<svg viewBox' all.html)" 4 "plots of the report"
    expect 1 locate $run --mosaic no/such.png photos/ground-0.ppm
    complains 'no/such.png: cannot be written'

    # cut tiles: shown where it is told how they were cut, and not the whole picture in their place
    expect 0 index build --model model.safetensors --backend "$backend" --tiles tiles/tiles.csv --tile-size 60 -o cut.mfg
    cut="--model model.safetensors --backend $backend --index cut.mfg photos/ground-0.ppm -k 2"
    expect 0 locate $cut --mosaic without.png
    expect 0 locate $cut --mosaic with.png --tiles tiles/tiles.csv --tile-size 60
    says 'aerial-[0-5].ppm#[01]_[01]$'
    checks=$((checks + 1))
    [ "$(wc -c <with.png)" -gt "$(($(wc -c <without.png) + 10000))" ] || check_failed "no pictures of cut tiles"
    expect 2 locate $cut --tiles tiles/tiles.csv --tile-size 0
    complains '--tile-size takes'

    # calibration
    expect 2 index calibrate --model model.safetensors town.mfg
    complains '--pairs'
    expect 0 index calibrate --model model.safetensors --backend "$backend" --pairs pairs.csv town.mfg
    says 'calibration error of the best tile +[0-9.]+ -> [0-9.]+'
    expect 0 locate $run --json photos/ground-0.ppm
    json out 'd[0]["calibrated"] is True and 0 <= d[0]["in_gallery"] <= 1'
    expect 0 locate $run --json --yaw 2 photos/ground-0.ppm
    json out 'd[0]["calibrated"] is False and d[0]["in_gallery"] is None'
    expect 0 index calibrate --json --model model.safetensors --backend "$backend" --pairs pairs.csv town.mfg
    json out 'd["queries"] == 6 and d["temperature"] > 0'

    # a track
    expect 0 track $run drive.csv
    is "$(wc -l <out)" 7 "lines of the track"
    expect 0 track $run --json --prior 51.5,-0.1,20 --heading 0,5 drive.csv
    json out 'len(d) == 6 and d[0]["error_m"] < 60 and d[5]["error_m"] < 150'
    expect 0 track $run --geojson --yaw 4 drive.csv
    json out 'd["features"][0]["geometry"]["type"] == "LineString" and len(d["features"]) == 7'
    checks=$((checks + 1))
    "$EXAMPLE_TRACK" model.safetensors town.mfg 111 photos/ground-0.ppm photos/ground-1.ppm >out 2>err ||
        check_failed "examples/track.c"
    is "$(wc -l <out)" 2 "lines of the example"

    # bad input
    echo "not a picture" >broken.jpg
    expect 3 locate $run broken.jpg photos/ground-0.ppm
    complains 'broken.jpg.*skipped'
    expect 1 locate $run broken.jpg
    complains 'no picture could be read'
    expect 2 locate $run
    expect 2 locate --model model.safetensors photos
    complains '--index'
    for bad in 91,0,10 0,181,10 0,0,0 0,0,-5 0,0 x,0,5 0,0,nan 0,0,5,; do
        expect 2 locate $run --prior "$bad" photos/ground-0.ppm
        complains '--prior'
    done
    expect 2 locate $run -k 0 photos
    expect 2 locate $run -k 1025 photos
    expect 2 locate $run --yaw 361 photos
    expect 2 locate $run --fov 180 photos
    expect 2 locate $run --pitch 5 photos
    for bad in 500 500,500,320 500,500,320,x 0,500,320,240 500,-1,320,240 nan,1,1,1 1,1,1,1,1; do
        expect 2 locate $run --intrinsics "$bad" photos/ground-0.ppm
        complains '--intrinsics'
    done
    expect 2 locate $run --fov 60 --intrinsics 500,500,320,240 photos
    expect 2 locate $run --kml --csv photos
    expect 1 locate --model model.safetensors --index none.mfg photos/ground-0.ppm
    complains 'none.mfg'
    head -c 3000 town.mfg >cut.mfg
    expect 1 locate --model model.safetensors --index cut.mfg photos/ground-0.ppm
    complains 'cut short'
    # a flipped bit of a descriptor, which opening does not see
    size=$(wc -c <town.mfg)
    { head -c $((size - 2000)) town.mfg; printf '\377\377\377\377'; tail -c 1996 town.mfg; } >flipped.mfg
    is "$(wc -c <flipped.mfg)" "$size" "size of the damaged gallery"
    expect 1 locate --model model.safetensors --backend "$backend" --index flipped.mfg photos/ground-0.ppm
    complains 'flipped.mfg: damaged: the checksum of its descriptors'
    expect 1 track --model model.safetensors --backend "$backend" --index flipped.mfg drive.csv
    complains 'flipped.mfg: damaged'
    expect 1 index calibrate --model model.safetensors --backend "$backend" --pairs pairs.csv flipped.mfg
    complains 'flipped.mfg: damaged'
    expect 0 locate --model model.safetensors --backend "$backend" --index flipped.mfg --no-verify photos/ground-0.ppm
    "$MAKE_MODEL" other.safetensors $tiny_keys a=0 || exit 1
    expect 1 locate --model other.safetensors --backend "$backend" --index town.mfg photos/ground-0.ppm
    complains 'was built with the model convnext_atto.*this one is convnext_atto'
    echo "path,latitude" >bad.csv
    expect 1 locate $run --truth bad.csv photos/ground-0.ppm
    printf 'path,latitude,longitude\nground-0.ppm,95,0\n' >bad.csv
    expect 1 locate $run --truth bad.csv photos/ground-0.ppm
    complains 'bad.csv, line 2: latitude'
    printf 'path,distance_m,turn_deg\nphotos/ground-0.ppm,far,0\n' >bad.csv
    expect 1 track $run bad.csv
    complains "line 2: distance_m: 'far'"
    expect 2 track $run --heading north drive.csv
}

# ten panoramas of London against their ten tiles: that every one gets a place
london=${REAL:-}/london
if [ -f "$london/pairs.csv" ]; then
    "$MAKE_GALLERY" model.safetensors "$london/aerial" london.mfg || exit 1
    # shellcheck disable=SC2086
    expect 0 locate --model model.safetensors --backend $backend --index london.mfg --json --truth "$london/pairs.csv" \
        --report london.html "$london/ground"
    json out 'len(d) == 10 and all(51.5 < e["latitude"] < 51.52 and -0.14 < e["longitude"] < -0.06 for e in d)'
    json out 'all(len(e["candidates"]) == 5 and "error_m" in e for e in d)'
else
    echo "no photographs of London: left out"
fi
finish
