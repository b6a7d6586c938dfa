"""What each option lets through: reviewed by hand against Table E.1-1, one list for each option.

Nothing here is computed from the engine's own tables, so that a wrong cell in them is found. A
planted value may be found in an output if ``may_stay`` says so, and has to be if ``must_stay``
does.
Source: PS3.15 2026d, E.3 and Table E.1-1.
"""

from dataclasses import dataclass

from app.deid.options import Option


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Free text in which nobody is named: the words stay. E.3.5.
DESCRIPTORS = _names("""
AcquisitionComments AcquisitionContextDescription AcquisitionDeviceProcessingDescription
AcquisitionFieldOfViewLabel AcquisitionProtocolDescription AdditionalPatientHistory
AdmittingDiagnosesDescription Allergies AnnotationGroupDescription AnnotationGroupLabel
BeamDescription BolusDescription ChannelDerivationDescription ChannelLabel
ClinicalTrialSeriesDescription ClinicalTrialTimePointDescription CommentsOnRadiationDose
CommentsOnThePerformedProcedureStep CompensatorDescription
ConceptualVolumeCombinationDescription ConceptualVolumeDescription ContainerDescription
ContrastBolusAgent ContributionDescription DecompositionDescription DerivationDescription
DischargeDiagnosisDescription DisplacementReferenceLabel DoseCalculationModelName
DoseReferenceDescription EntityDescription EntityLabel EntityLongLabel EntityName
EquipmentFrameOfReferenceDescription FilterLookupTableDescription FixationDeviceDescription
FractionGroupDescription FractionationNotes FrameComments GenderIdentityComment
IdentifyingComments ImageComments ImagingServiceRequestComments Impressions InterlockDescription
InterlockOriginDescription InterpretationDiagnosisDescription InterpretationText LabelText
LongDeviceDescription MedicalAlerts MontageChannelLabel MontageName
MultienergyAcquisitionDescription MultiplexGroupLabel Occupation PatientComments
PatientSetupPhotoDescription PatientState PatientTreatmentPreparationMethodDescription
PatientTreatmentPreparationProcedureParameterDescription PerformedProcedureStepDescription
PositionAcquisitionTemplateDescription PositionAcquisitionTemplateName PrescriptionDescription
PrescriptionNotes PriorTreatmentDoseDescription PronounComment ProtocolName PyramidDescription
PyramidLabel ROIDescription ROIGenerationDescription ROIName ROIObservationDescription
ROIObservationLabel RTPhysicianIntentNarrative RTPlanDescription RTPlanLabel RTPlanName
RTPrescriptionLabel RTToleranceSetLabel RTTreatmentApproachLabel
RadiationDoseIdentificationLabel RadiationDoseInVivoMeasurementLabel
RadiationGenerationModeDescription RadiationGenerationModeLabel ReasonForOmissionDescription
ReasonForStudy ReasonForSuperseding ReasonForTheAttributeModification
ReasonForTheImagingServiceRequest ReasonForTheRequestedProcedure ReasonForVisit
RequestedContrastAgent RequestedProcedureComments RequestedProcedureDescription
RequestedSeriesDescription RequestingService RespiratoryMotionCompensationTechniqueDescription
ResultsComments ScheduledProcedureStepDescription SelectorLOValue SelectorLTValue
SelectorSHValue SelectorSTValue SelectorUTValue SeriesDescription ServiceEpisodeDescription
SetupTechniqueDescription SexParametersForClinicalUseCategoryComment ShieldingDeviceDescription
SpecimenDetailedDescription SpecimenShortDescription StructureSetDescription StructureSetLabel
StructureSetName StudyComments StudyDescription TreatmentPositionGroupLabel TreatmentSite
TreatmentSites TreatmentTechniqueNotes TreatmentToleranceViolationDescription
UnformattedTextValue UserContentLabel UserContentLongLabel VisitComments
WaveformFilterDescription
""")

# Times of the day, which neither option for dates changes. E.3.6.
TIMES = _names("""
AcquisitionTime AdmittingTime CalibrationTime ContentTime ContrastBolusStartTime
ContrastBolusStopTime CreationTime CurveTime DischargeTime FindingsGroupRecordingTimeTrial
InstanceCreationTime IntendedFractionStartTime InterpretationApprovalTime
InterpretationRecordedTime InterpretationTranscriptionTime InterventionDrugStartTime
InterventionDrugStopTime IssueTimeOfImagingServiceRequest ModifiedImageTime ObservationTimeTrial
OverlayTime PerformedProcedureStepEndTime PerformedProcedureStepStartTime
PresentationCreationTime RTPlanTime RadiopharmaceuticalStartTime RadiopharmaceuticalStopTime
ReviewTime SafePositionExitTime SafePositionReturnTime ScheduledAdmissionTime
ScheduledDischargeTime ScheduledProcedureStepEndTime ScheduledProcedureStepStartTime
ScheduledStudyStartTime ScheduledStudyStopTime SelectorTMValue SeriesTime
SourceStrengthReferenceTime StructureSetTime StudyArrivalTime StudyCompletionTime StudyReadTime
StudyTime StudyVerifiedTime Time TimeOfDocumentCreationOrVerbalTransactionTrial
TimeOfLastCalibration TimeOfLastDetectorCalibration TimeOfSecondaryCapture
TreatmentControlPointTime TreatmentTime
""")

# Days, moments that hold a day and stamps. E.3.6 with full dates. The offset of the time zone stays
# as well, but only where it is one.
DAYS = _names("""
CertifiedTimestamp FrameOriginTimestamp
AcquisitionDate AcquisitionDateTime AdmittingDate AnnotationDateTime ApprovalStatusDateTime
AssertionDateTime AssertionExpirationDateTime AttributeModificationDateTime
BeamHoldTransitionDateTime CalibrationDate CalibrationDateTime ContentDate
ContextGroupLocalVersion ContextGroupVersion ContributionDateTime CreationDate CurveDate Date
DateOfDocumentOrVerbalTransactionTrial DateOfInstallation DateOfLastCalibration
DateOfLastDetectorCalibration DateOfManufacture DateOfSecondaryCapture DateTime
DateTimeOfLastCalibration DecayCorrectionDateTime DigitalSignatureDateTime DischargeDate
EffectiveDateTime EffectiveStartDateTime EffectiveStopDateTime EndAcquisitionDateTime
EthicsCommitteeApprovalEffectivenessEndDate EthicsCommitteeApprovalEffectivenessStartDate
ExclusionStartDateTime ExpectedCompletionDateTime FindingsGroupRecordingDateTrial
FirstTreatmentDate FrameAcquisitionDateTime FrameReferenceDateTime FunctionalSyncPulse
GPSDateStamp HL7DocumentEffectiveTime HangingProtocolCreationDateTime
ImpedanceMeasurementDateTime InformationIssueDateTime InstanceCoercionDateTime
InstanceCreationDate InstructionPerformedDateTime IntendedPhaseEndDate IntendedPhaseStartDate
InterlockDateTime InterpretationApprovalDate InterpretationRecordedDate
InterpretationTranscriptionDate IssueDateOfImagingServiceRequest LastMenstrualDate
ModifiedImageDate MostRecentTreatmentDate ObservationDateTime ObservationDateTrial
ObservationStartDateTime OverlayDate OverrideDateTime ParticipationDateTime
PerformedProcedureStepEndDate PerformedProcedureStepEndDateTime PerformedProcedureStepStartDate
PerformedProcedureStepStartDateTime PresentationCreationDate ProcedureStepCancellationDateTime
ProductExpirationDateTime ROIDateTime ROIObservationDateTime RTPlanDate
RadiopharmaceuticalStartDateTime RadiopharmaceuticalStopDateTime RecordedRTControlPointDateTime
ReferencedDateTime ReviewDate SOPAuthorizationDateTime SafePositionExitDate
SafePositionReturnDate ScheduledAdmissionDate ScheduledDischargeDate
ScheduledProcedureStepEndDate ScheduledProcedureStepExpirationDateTime
ScheduledProcedureStepModificationDateTime ScheduledProcedureStepStartDate
ScheduledProcedureStepStartDateTime ScheduledStudyStartDate ScheduledStudyStopDate
SegmentDefinitionDateTime SelectorDAValue SelectorDTValue SeriesDate SourceEndDateTime
SourceStartDateTime SourceStrengthReferenceDate StartAcquisitionDateTime StructureSetDate
StudyArrivalDate StudyCompletionDate StudyDate StudyReadDate StudyVerifiedDate
SubstanceAdministrationDateTime TemplateLocalVersion TemplateVersion TreatmentControlPointDate
TreatmentDate TreatmentToleranceViolationDateTime VerificationDateTime
""")

# E.3.7.
CHARACTERISTICS = _names("""
Allergies EthnicGroup EthnicGroups PatientSex PatientSexNeutered PatientSize PatientState
PatientWeight PreMedication SexParametersForClinicalUseCategoryComment
SexParametersForClinicalUseCategoryReference SmokingStatus SpecialNeeds
""")

# E.3.8; AE titles become pseudonyms and stand nowhere here.
DEVICES = _names("""
CassetteID DetectorID DeviceDescription DeviceLabel DeviceSerialNumber DeviceUID GantryID
GeneratorID HardcopyCreationDeviceID LensMake LensModel LensSerialNumber LensSpecification
ManufacturerDeviceClassUID ManufacturerDeviceIdentifier ModifyingDeviceID ModifyingSystem
PerformedStationName PlateID ScheduledProcedureStepLocation ScheduledStationName
ScheduledStudyLocation SecondaryCaptureDeviceID SourceManufacturer SourceSerialNumber
StationName TreatmentMachineName UniqueDeviceIdentifier XRayDetectorID XRayDetectorLabel
XRaySourceID
""")

# E.3.8.
DEVICE_TIMES = _names("""
CalibrationTime TimeOfLastCalibration TimeOfLastDetectorCalibration
""")

# E.3.8.
DEVICE_DAYS = _names("""
BeamHoldTransitionDateTime CalibrationDate CalibrationDateTime DateOfInstallation
DateOfLastCalibration DateOfLastDetectorCalibration DateOfManufacture DateTimeOfLastCalibration
""")

# E.3.9.
UIDS = _names("""
AcquisitionUID AnnotationGroupUID ConcatenationUID ConceptualVolumeUID
ConstituentConceptualVolumeUID DeviceUID DimensionOrganizationUID DoseReferenceUID
DosimetricObjectiveUID FailedSOPInstanceUIDList FiducialUID FrameOfReferenceUID
InstanceCreatorUID IrradiationEventUID LargePaletteColorLookupTableUID
ManufacturerDeviceClassUID MultiplexGroupUID ObservationSubjectUIDTrial ObservationUID
PaletteColorLookupTableUID PatientSetupUID PresentationDisplayCollectionUID
PresentationSequenceCollectionUID PyramidUID RTTreatmentPhaseUID ReferencedConceptualVolumeUID
ReferencedDoseReferenceUID ReferencedDosimetricObjectiveUID ReferencedFiducialsUID
ReferencedFrameOfReferenceUID ReferencedGeneralPurposeScheduledProcedureStepTransactionUID
ReferencedObservationUIDTrial ReferencedSOPInstanceUID ReferencedTreatmentPositionGroupUID
RelatedFrameOfReferenceUID SOPInstanceUID SeriesInstanceUID SourceConceptualVolumeUID
SourceFrameOfReferenceUID SpecimenUID StorageMediaFileSetUID StudyInstanceUID
SynchronizationFrameOfReferenceUID TableTopPositionAlignmentUID TargetUID
TemplateExtensionCreatorUID TemplateExtensionOrganizationUID TrackingUID TransactionUID
TreatmentPositionGroupUID TreatmentSessionUID
""")

# E.3.11.
INSTITUTIONS = _names("""
ClinicalTrialCoordinatingCenterName ClinicalTrialProtocolEthicsCommitteeName ClinicalTrialSiteID
ClinicalTrialSiteName InstitutionAddress InstitutionName InstitutionalDepartmentName
SourceOfPreviousValues
""")

# What stays under each option, by its own value.
_KEPT = {
    Option.CLEAN_DESCRIPTORS: DESCRIPTORS,
    Option.CLEAN_GRAPHICS: frozenset({"UnformattedTextValue"}),
    Option.FULL_DATES: TIMES | DAYS,
    Option.MODIFIED_DATES: TIMES,
    Option.PATIENT_CHARACTERISTICS: CHARACTERISTICS,
    Option.DEVICE_IDENTITY: DEVICES | DEVICE_TIMES | DEVICE_DAYS,
    Option.UIDS: UIDS,
    Option.INSTITUTION_IDENTITY: INSTITUTIONS,
}

# Sequences that an option opens: what is planted in their items is decided by itself.
_OPENED = {
    Option.CLEAN_DESCRIPTORS: """
        AdmittingDiagnosesCodeSequence HistologicalDiagnosesCodeSequence PrescriptionNotesSequence
        PrimaryDiagnosisCodeSequence PrincipalDiagnosisCodeSequence
        ReasonForRequestedProcedureCodeSequence ReasonForVisitCodeSequence
        RequestAttributesSequence SecondaryDiagnosesCodeSequence""",
    Option.CLEAN_GRAPHICS: "GraphicAnnotationSequence",
    Option.CLEAN_STRUCTURED_CONTENT: """
        AcquisitionContextSequence ContentSequence SpecimenPreparationSequence
        WaveformAnnotationSequence""",
    Option.PATIENT_CHARACTERISTICS: """
        EthnicGroupCodeSequence SexParametersForClinicalUseCategoryCodeSequence
        SexParametersForClinicalUseCategorySequence""",
    Option.DEVICE_IDENTITY: """
        PerformedStationGeographicLocationCodeSequence PerformedStationNameCodeSequence
        ScheduledStationGeographicLocationCodeSequence ScheduledStationNameCodeSequence
        TransducerIdentificationSequence UDISequence""",
    Option.UIDS: """
        ReferencedImageSequence ReferencedPatientSequence ReferencedPerformedProcedureStepSequence
        ReferencedStudySequence SourceImageSequence""",
    Option.INSTITUTION_IDENTITY: "InstitutionCodeSequence InstitutionalDepartmentTypeCodeSequence",
}
# Sequences of references that stay with mapped UIDs in IODs that list their instances elsewhere.
_REFERENCES = frozenset({"ReferencedImageSequence", "SourceImageSequence"})
_NO_DAYS = DAYS | DEVICE_DAYS


# Items of a structured report whose concept the table of content items does not restrict: what
# must be chosen for the value to stay. None of it stays where the tree goes.
_REPORT_ITEMS = {
    "TEXT": Option.CLEAN_DESCRIPTORS,
    "DATE": Option.FULL_DATES,
    "DATETIME": Option.FULL_DATES,
    "UIDREF": Option.UIDS,
    "IMAGE": Option.UIDS,
    "COMPOSITE": Option.UIDS,
    "WAVEFORM": Option.UIDS,
    "NUM": Option.CLEAN_STRUCTURED_CONTENT,
    "CODE": Option.CLEAN_STRUCTURED_CONTENT,
}


@dataclass(frozen=True, slots=True)
class Lawful:
    """The expectation for one profile.

    Attributes:
        options: those of the profile.
        keeps_unlisted: whether text stays in attributes that Table E.1-1 has no row for.
    """

    options: frozenset[str]
    keeps_unlisted: bool

    @property
    def keywords(self) -> frozenset[str]:
        """Attributes of the table whose own value stays."""
        kept = frozenset[str]()
        for option, names in _KEPT.items():
            if option in self.options:
                kept |= names
        if Option.MODIFIED_DATES in self.options:
            kept -= _NO_DAYS  # of two options the one that retains less decides
        return kept

    def must_stay(self, place: str) -> bool:
        """Say whether a value that was planted there has to be found in the output."""
        kind, _, rest = place.partition(" ")
        if kind == "unlisted":
            return self.keeps_unlisted
        if kind == "institution,":
            return Option.INSTITUTION_IDENTITY in self.options  # in its own attribute
        if kind == "safe":
            return Option.SAFE_PRIVATE in self.options
        if kind == "report":
            return self._stays_in_report(rest.split(" "))
        if kind == "graphics":
            return self._stays_in_graphics(rest)
        return kind in {"root", "depth"} and self._stays_in_table(place)

    def may_stay(self, place: str) -> bool:
        """Say whether it may be found: references are entered in some IODs only."""
        outer, _, inner = place.partition(" > ")
        is_reference = outer.rpartition(" ")[2] in _REFERENCES
        return self.must_stay(place) or (is_reference and inner in self.keywords)

    def _stays_in_table(self, place: str) -> bool:
        outer, _, inner = place.partition(" > ")
        keyword = outer.rpartition(" ")[2]
        if not inner:
            return keyword in self.keywords
        return inner in self.keywords and any(
            keyword in names.split() for option, names in _OPENED.items() if option in self.options
        )

    def _stays_in_report(self, words: list[str]) -> bool:
        if words == ["CompletionFlagDescription"]:
            return self.keeps_unlisted
        if len(words) < 3 or Option.CLEAN_STRUCTURED_CONTENT not in self.options:
            return False
        _, concept, value_type = words
        if value_type == "TEXT" and concept == "accession":
            return False
        if value_type == "TIME":
            return not {Option.FULL_DATES, Option.MODIFIED_DATES}.isdisjoint(self.options)
        return _REPORT_ITEMS.get(value_type) in self.options

    def _stays_in_graphics(self, words: str) -> bool:
        if words in {"ContentDescription", "GraphicLayerDescription"}:
            return self.keeps_unlisted
        return words.endswith("UnformattedTextValue") and Option.CLEAN_GRAPHICS in self.options
