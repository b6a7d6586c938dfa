"""Words that devices write into images and that say nothing about anybody. Pure.

A word that is missing here costs a look by a person; a name that stands here costs a name. Words
that are also common names count only beside others.
"""

import re
from functools import lru_cache
from typing import Final

from pydicom._dicom_dict import DicomDictionary

from app.deid.rules.identifiers import folded
from app.deid.rules.vocabulary import TERMS

_SCREEN = """
2d 3d 4d abd abs ac accel achieva acq act acuson adapt adaptive add adj adult adv advanced aera
affiniti agc agfa allura aloka alpha amp angle ann anno annot aplio aquilion area artis aspect
auto autoscan avanto average avg avip axiom axis background baseline beam beat beats best beta
biograph biopsy bkg black blank blood bmode body bottom bpm brightness brilliance buffer cal calc
caliper calipers canon cardiac carestream cfi cfm cftn chan change channel chroma cine clear clip
clock cm color colour comp company compare complete completed compound compression contrast copy
corporation count counts cps crossbeam crossxbeam cts cursor curve curved custom cw cwd cycle dec
decay default definition deg degree degrees delay delta density depth diam diameter dif diff
digital disabled discovery dist distance dop doppler dose down dr dtce dtcem dual duplex dur
duration dx dyn dynamic ecg echo edge edit ekg elapsed elasto elastography enabled enc end energy
enh enhance enhanced epiq erase error esaote espree est exam exit exp expo exposure extended
factor false fast fetal field file filt filter final fine first fixed flash flip flow focal foci
focus fov fps frame frames freeze freq frequency frozen fuji fujifilm full func fund fundamental
fusion gain gamma gate gated gel gen general giotto gmbh grad gray grey grid half har harm
harmonic harmonics head header healthcare hi hide high hist histogram hitachi hold hologic home
horizontal hr hres image images imaging img inc index info ingenia ingenuity init innova input
insert int intensity intera interp interval inv inverse invert inverted iso kernel key kodak
konica kvp label landscape large last lat lateral layout left len length level light lightspeed
limit lin line linear list live load loading loc local lock logiq loop lorad lossless lossy low
lower ltd lut lvl mag magn magnetom main mammomat man manual map mark marker mask matrix max
maximum mean meas measure measurement measurements med median medical medison medium menu mid
middle min mindray minimum minip minolta mip mix mmode mod mode model monitor mono motion move mpr
msec multi mylab name native near neg negative new next noise none norm normal note num number off
offline offset on online opacity open opt optima optimize option options orient orientation origin
original out output over overlay page pan panel panoramic param parameters part partial pause peak
pen pending penetration per percent persist persistence phase philips pitch pixel pixels plane
planmed play please point points pos position post power ppm pre preamp preset press pressure prev
preview prf print prisma probe proc processed progress proj projection ps pulse pulsed pw pwd pwr
quad quality quick radius ramp range rate ratio raw read ready real rec recon reconstruction
record recorded ref refresh region rej reject rel repeat res reset resolution resona result
results resume return rev reverse review revolution right roi rot rotate rotation row rows rs
sample samples samsung sat save saved scale scan scanner scanning scans scr screen scroll sec
sector seg segment select selected selenia sens sensation sensitivity seq sequence sequoia ser
series set setting settings setup shading sharp sharpness shift shimadzu shot show shutter side
siemens siescape signa signal single size skyra slab slice slices slide slope slow small smooth
smoothing smpl snap snr soft somatom sonata sonosite sort spatial speckle spectral speed split
spot sri ssd stab standard start state status std step still stop storage store stored storing
strain stress stretch strip strobe study sub sum sup surface sv sweep switch symbia symphony sync
sys system systems table tag target temp temperature test text thermal thi thick thickness thin
thresh threshold tib tic tile tilt time timer tis tissue title toggle tool top toshiba total trace
track tracking transducer transparency trig trigger trio true type unit units unknown unlabeled up
update upper usb used user val value values var variance vel velocity ver verio version vert
vertical vid video view viewer views vivid vol volume voluson vrt wait wall warning wave wc white
wide width win window wl write ww xario xbeam xres yes zero zone zoom zoomed
"""
_ANATOMY = """
abdomen abdominal acetabulum adnexa adrenal airway ankle anterior antrum aorta aortic apex apical
apo appendix arch arm arterial arteries artery articulation ata atlas atrial atrium av axial
axilla axillary back basal base bi bicuspid bif bifurcation bile biliary bladder body bone bones
bowel brachial brain breast breasts bronchus bulb calc calcaneus calf canal cardiac cardio carotid
carpal caudal caudate cava cbd cca celiac cephalic cerebellum cerebral cervical cervix cfa cfv
chamber chd chest chordae clavicle coccyx colic colon common cor coronal coronary cortex costal
cranial cranium cspine cubital cuff cusp cyst deltoid dental diaphragm diaphysis digit disc disk
distal dorsal dorsum duct ductus duodenum ear eca eia elbow embryo endo endometrium epi epicardial
epididymis epigastric esophagus external eye eyes face facet fallopian fem femoral femur femurs
fetus fibroid fibula finger fingers flank fluid follicle foot forearm fossa four frontal fundus
gallbladder gb genital gland glottis gluteal groin gsv gyn hand head heart heel hemi hepatic
hernia hila hilum hip hips humerus hyoid ica iia iliac iliacus ilium ima imv inf inferior inguinal
intercostal internal ischium ivc ivs jaw joint jugular kidney kidneys knee knees labrum larynx las
lateral leg legs lens lesion ligament limb lingual liver lobe lobes loin long longitudinal lspine
lsspine lt lumbar lung lungs lv lvot lymph main mandible mass mastoid maxilla maxillary medial
median mediastinum medulla meniscus mesenteric metacarpal metatarsal mitral morison msk muscle
muscles musculoskeletal myo myocardium myometrium nasal navel neck nerve nipple node nodes nodule
nose oblique occipital oral orbit orbits ov ovarian ovaries ovary palate pancreas pancreatic
parasternal parathyroid parotid patella pelvic pelvis pericardial peripheral peroneal phalanx
pharynx pituitary placenta plantar pleura pleural plex pop popliteal portal posterior pouch
pregnancy profunda prostate proximal pta pubis pulmonary pv pylorus quadriceps radial radius
rectal rectum rectus renal retina rib ribs root rotator rt rvot sacral sacrum sag sagittal
saphenous scalp scaphoid scapula sciatic scrotal scrotum section sella sept septal septum sfa sfv
shoulder shoulders sinus sinuses skin skull sma smv soft sole spinal spine spleen splenic ssv
stenosis sternum stomach subclavian subcostal submandibular superior supine supraspinatus
suprasternal symphysis talus tarsal teeth temporal tendon testes testicle testicular testis thigh
thoracic thorax thumb thymus thyroid tibia tibial tmj toe toes tongue tonsil tooth torso trachea
tract trans transverse trapezius tricuspid trunk trv tspine tumor ulna ulnar umbilical umbilicus
ureter urethra urinary ut uterine uterus vagina valve vas vascular vein veins vena venous ventral
ventricle ventricular vertebra vertebral vessel vessels vulva wall whole wrist zygoma
"""
_POSITIONS = """
a2c a3c a4c a5c afh anterior ap arterial away ax axial axillary bearing bedside bilateral bolus
both bucky caldwell caudad caudal cc cephalad cleavage con contrast cor coronal cranial crosstable
decub decubitus delayed early enhanced erect expir expiration ext extension external feet ffdl
ffdr ffp ffs first flex flexion frog frogleg grid head hfdl hfdr hfp hfs inferior inlet insp
inspiration internal iv judet lao lat late lateral lax lcc left ll lm lmlo localiser localizer
long lordotic lpo lying mag magnified medial merchant ml mlo mobile mortise native neutral non
noncon nonweight notch obl oblique odontoid oral outlet pa plain planning plax portable portal
post posterior pre prone psax rao rcc rectal recumbent right rl rmlo rotation rpo runoff sag
sagittal sax scano scanogram scout seated semi short sitting skyline smartprep standing stretcher
sunrise superior supine surview swimmers table tabletop tail tangential topo topogram towards
towne tra trans transverse trv tunnel unenhanced upright venous view views wall waters weight
wheelchair with without xcc xccl xccm
"""
_TECHNIQUE = """
acq acquisition adc admire aec agd air al asir asl attenuation average axial bandwidth bi blade
bold bone bq bravo breath breathhold bw calibration chst ci cine coil collimation combo comp
compression corrected counts ctac ctdi ctdivol cts cu cube current dap detail deviation diag
diagnostic diffusion direction dixon dlir dlp dose dsa dwi dynamic echo echoes edge eff effective
eiref emission encode energy epi etl exi exposure fa fat fatsat fbp fdg ffd fid field fiesta
filter flair flash flip flow fluoro fluoroscopy focal force fov frame free freq fse gap gated
grappa gre haste helical hold hvl idose index inphase ion isotope iterative kbq kcounts kct kernel
kev kv kvp lgm localizer lt lung ma maa mag magnification mas mask mbir mbq mci mdp mibi mpr
mprage mra mrcp mrs mrv msec mtx nac native nav nex nsa outphase peak perfusion pet phase pitch
planar postfire prefire propeller prospective pulse pulses rate recon reference resp respiratory
rest retro road roadmap rot rt safire sat scatter scouts screening sdd sense sensitivity sharp
shim sid skip slab slices smooth sod soft space specimen spect spgr spiral spot ssfp ssfse
standard static stereo stir stnd stress subtracted subtraction suppressed survey suv swi synthetic
target tc99m te tesla thickness thk ti tof tomo tomosynthesis tr transmission trig trufi tse tube
ultra uncorrected ungated veo vibe vista voltage water wb weighted whole windows
"""
_GENERAL = """
a abnormal acquired adjust after an and apply approximate are arrow as at automatic available be
because before benign between by calcification calcifications calibrated can catheter check clear
click clip close compressed compression confirm continue created current cyst cystic data default
delete derived device diagnostic displayed do does done drag edema effusion eight enter estimated
every exceeds finding findings five for found four fracture from graft has have hematoma
hydronephrosis images implant in intended into invalid is it last left loss lossy made make mass
measured mild missing moderate more must need needle nine no nodule normal not of on one only
opacity or original other out over own pacemaker per plate printed process purpose purposes
quality ratio received rectangle reference removed screw select send sent series seven severe
shadow shadowing should shown since six solid some source stenosis stent stone stones suspicious
ten than that the their these this three thrombus through to tumor tumour two unable uncalibrated
under unknown until use using valid verify warning was were will wire yes
"""
#: Labels of fields, folded, and the kind of what stands behind them.
LABELS: Final[dict[str, str]] = {
    word: kind
    for kind, line in {
        "patient-name": "patient pat name nom nome nombre nachname vorname surname prenom pn "
        "firstname lastname pt cognome apellido apellidos imie nazwisko",
        "person": "dr doctor prof professor phys physician ref referring op oper operator tech "
        "technologist technician sonographer performed perf mr mrs ms miss mme frau herr hr "
        "radiologist reader surgeon md requested reported dott medecin arzt befunder user nurse by",
        "institution": "hospital hosp clinic klinik klinikum hopital ospedale hospice infirmary "
        "sjukhus sykehus szpital nemocnice praxis institute institution inst universitatsklinik "
        "centre center univ university universitat chu akh krankenhaus radiology radiologie mvz "
        "clinica hospital hospitale dept department ward station medical",
        "date": "dob born birth birthdate geb geboren nacim ne nee date bd birthday datum "
        "naissance",
        "id": "id mrn pid ssn nhs acc accession patid case visit order ordnr "
        "nr no nummer pat patnr patientid",
        "phone": "tel telefon telephone phone ph fax mobil handy",
        "address": "addr address adresse street strasse str rue road rd avenue ave weg platz via "
        "calle plac box po lane drive blvd crescent",
    }.items()
    for word in line.split()
}
# What is a name at least as often as a word: harmless only beside other words or figures.
_AMBIGUOUS = frozenset(
    "acuson aera april archer august baker ball banks barber bell best bishop black blade "  # noqa: SIM905
    "blue bond bravo brown buck bush butler caldwell camp canon carter case castle chambers "
    "chase conner cook cooper cross cube day dean discovery drake drew east field fields "
    "fisher foot ford fox frank gene glass gold good grant gray green grey hand hawk head "
    "heart hill hologic hope hunter joy judet june king lake lamb law light long love major "
    "mark marshall mason may merchant mercy miller moon morison noble north organ page park "
    "parker person pierce pool pope power powers price ray reed rice rich root rose rush sage "
    "sands savage sequoia sharp shore short small south spear steel stern stone strong summer "
    "swift symphony tan taylor temple town towne trio turner vista wall waters west white "
    "winter wise wolf wood young".split()
)
_NUMBERED = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
# Attributes' names hold these, and so do letters to people.
_NOT_FROM_DICTIONARY = frozenset("mother occupation religious neutered author vital".split())  # noqa: SIM905
# Signs that a reader takes for others; both sides of a comparison are mapped.
_LOOKALIKES = str.maketrans("0158|!$296", "olsbllszgg")


def skeleton(word: str) -> str:
    """Return a word, folded, with signs that look alike made equal, as ``O`` and ``0`` do."""
    plain = folded(word).translate(_LOOKALIKES).replace("i", "l").replace("q", "g")
    return plain.replace("rn", "m").replace("vv", "w")


@lru_cache(maxsize=1)
def harmless() -> frozenset[str]:
    """Return the words, as skeletons."""
    own = " ".join((_SCREEN, _ANATOMY, _POSITIONS, _TECHNIQUE, _GENERAL)).split()
    names = " ".join(row[4] for row in DicomDictionary.values())
    known = {part.lower() for part in _NUMBERED.findall(names)} - _NOT_FROM_DICTIONARY
    terms = {term.lower() for term in TERMS}
    return frozenset(skeleton(word) for word in {*own, *known, *terms})


@lru_cache(maxsize=1)
def ambiguous() -> frozenset[str]:
    """Return the words, as skeletons, that are often names."""
    return frozenset(skeleton(word) for word in _AMBIGUOUS)


UNITS: Final = frozenset(
    "bpm bq c cc cgy cm cm/s cm2 cm3 cmh2o cnts cps cts d dan db deg dgycm2 dl dpi f fps fr "  # noqa: SIM905
    "ft g ga gbq ghz gy h hr hrs hu hz in k kbq kct kcts kev kg khz km kpa kv kvp l lb lbs "
    "lpmm m m2 ma mas mbq mci mev mg mgy mgycm mhz min mins ml mm mm/s mm2 mm3 mmhg mmol mo "
    "ms msec msi msv mw mwcm2 n nm pix ppm pt px s sd sec secs suv t tesla ua ugy um us usv w "
    "wd wk wks x y yr yrs".split()
)
