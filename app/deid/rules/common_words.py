"""Words that hold a name or call a place, and say nothing of anybody; by hand, six languages."""

from typing import Final

#: Words of radiology that hold a common name, such as Costa, Norma or Patel, and are none.
ORDINARY: Final = frozenset(
    "abnormal abnormality abnormalities abnormally normal normality normalised normalized "  # noqa: SIM905 - a table
    "normalization normally normative coronal coronary intracoronary costal intercostal "
    "subcostal patella patellar suprapatellar pericardial pericardium pericarditis "
    "hemispherical spherical numerical america american malignancy pregnancy peritoneal "
    "retroperitoneal intraperitoneal peroneal cholesterol progesterone western chamber chambers "
    "change changed changes unchanged exchange challenge advance advanced balance balanced "
    "unbalanced surveillance ambulance philips siemens registration registered registry "
    "branching branches crossed crosshair crossing across shortening shortest shortened "
    "smallest smaller sharply sharpness unsharp strongly longitudinal colonic colonoscopy "
    "colonography sheath approach bradycardia trochanter trochanteric temporomandibular "
    "tetracycline subcarinal celiac disturbance personal personnel person importer exporter "
    "reporter violation bleach kilopascal weight weighted weighting stationary standardized "
    "continuous continuously continuity continuation continued continues continuing "
    "discontinued discontinuous linear linearly bilinear nonlinear collinear curvilinear "
    "linearity tibial tibialis costae intercostales iliocostalis challenges challenging thorax "
    "thoracic thoracal intrathoracic thoracoabdominal thoracolumbar sternum sternal parasternal "
    "substernal retrosternal sternotomy sternoclavicular eastern basilar basilic basilaris "
    "vertebrobasilar petrous petrosal finger fingers through throughout excellent mitral spinal "
    "spinalis spinae intraspinal cerebrospinal paraspinal infraspinatus supraspinatus portal "
    "portable serratus serrated palmar palmaris cortex granulomatosis neurofibromatosis "
    "fibromatosis carcinomatosis lipomatosis angiomatosis adenomatosis hematomas teratomas "
    "hamartomas stomas olivary trigone cornea corneal scalar comparison comparisons nierenstein "
    "nierensteine gallenstein gallensteine harnstein harnsteine steine kleinhirn kleine kleiner "
    "kleines kleinen verkleinert großer große großes großen vergroßert vergroßerung grosse "
    "grosser vergrossert langer langes langen verlangert linke linken linker linkes rechts "
    "rechte rechten rechter rechtes starke starker verstarkt petite petites petits grande "
    "grandes grands droite droites droits blanche courte".split()
)
#: Words of departments, wards and rooms, and of what is done there.
DEPARTMENTS: Final = frozenset(
    "a abteilung admitted ae ambulance ambulant ambulanz ambulatory anaesthesia and anesthesia "  # noqa: SIM905 - a table
    "anesthesie anesthesiology angiographie angiography anonymous any area b bay bed bedside "
    "bett bildgebung block bloque board breast bucky building c cama camera cardiac cardio "
    "cardiologia cardiologie cardiology care cat cath cathlab cbct ccu central chambre children "
    "chirurgia chirurgie cirugia consultation cr critical ct d da das day de default del demo "
    "departamento department dept der dermatologie dermatology des dexa di diagnostic "
    "diagnostics diagnostik diagnostisch diagnostische die dipartimento discharged division dr "
    "du dx e east echo echocardiography echographie echokardiographie ecografia ed elective "
    "emergency en endo endocrinology endoscopy endoskopie ent er est et etage extern external "
    "floor fluoro fluoroscopy fmri for frauen fur gamma gastroenterologie gastroenterology "
    "general geriatrics gp gynaecology gynakologie gynecology haematology heart hematology hno "
    "home hospitalised hospitalized hybrid icu imagerie imaging in innere inpatient intensiv "
    "intensive intern internal interne interventional itu iv kardiologie kinder la lab "
    "laboratory le les level lits lung main mammo mammographie mammography maternity medecine "
    "medical medicina medicine medizin mobile mr mrcp mri mrt nd neonatal nephrology neuro "
    "neurochirurgie neuroimaging neurologia neurologie neurology neuroradiologie neuroradiology "
    "neurosurgery neurosurgical nicu nm no none nord normal north notaufnahme notfall nr "
    "nuclear nukleaire nuklearmedizin number obstetrics of office onco oncologia oncologie "
    "oncology onkologie onkologisch op operating ophthalmology or ortho orthopadie orthopaedics "
    "orthopedic orthopedics ost other ouest outpatient pacs padiatrie paediatric paediatrics "
    "palliative pathologie pathology patient patients pediatric pediatrics pet petct phantom "
    "piano picu planta pneumologie pneumology polyclinic portable postop practice preop private "
    "psychiatry public pulmonology radio radiodiagnostico radiografia radiographie radiography "
    "radiologia radiologica radiological radiologie radiologische radiology radioscopy "
    "radiotherapie radiotherapy raum ray rd recovery rehabilitation removed reparto research "
    "resuscitation rheumatology ris rontgen room rt saal sala salle scan scanner scanning "
    "scintigraphy scp screening scu section sektion service services servicio servizio sono "
    "sonographie south special specialist spect st station stock stroke sud suite surgery "
    "surgical szintigraphie teaching team test th the theatre therapie therapy thoracic "
    "tomografia tomographie tomography trauma traumatology treatment triage ultraschall "
    "ultrasound unbekannt und unidad unit unite unknown urgences urgencias urgent urologie "
    "urology us van vascular voor ward welfare west wing women xray y zentral zimmer zna".split()
)
#: Words of organisations: said of many, and yet in a name with others.
ORGANISATIONS: Final = frozenset(
    "center centre centro clinic clinica clinics clinique foundation gmbh group health "  # noqa: SIM905 - a table
    "healthcare hopital hospital hospitals institut institute institution kliniken klinik "
    "klinikum krankenhaus ltd medicare ospedale praxis stiftung trust universitair universitat "
    "universitats university ziekenhuis zentrum".split()
)
#: Manufacturers and their devices, which machines are called after.
DEVICES: Final = frozenset(
    "agfa canon carestream clinac cyberknife elekta esaote ethos fuji fujifilm ge halcyon "  # noqa: SIM905 - a table
    "healthineers hitachi hologic konica linac mindray minolta philips radixact samsung "
    "shimadzu siemens synergy systems tomotherapy toshiba truebeam varian versa".split()
)
#: Words before the number of a room.
ROOMS: Final = frozenset(
    "bay bed bett block building chambre etage floor level op planta room raum saal sala salle "  # noqa: SIM905 - a table
    "station suite theatre unit ward wing zimmer".split()
)
